import java.math.BigInteger;
import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.ChildShard;
import software.amazon.awssdk.services.kinesis.model.ConsumerStatus;
import software.amazon.awssdk.services.kinesis.model.EncryptionType;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.ResourceNotFoundException;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.StreamDescriptionSummary;
import software.amazon.awssdk.services.kinesis.model.StreamStatus;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;

/**
 * The scenario of the AWS SDK for Java v2, whose asynchronous client speaks CBOR over HTTP/2, with TLS and without:
 * create, put, split, encrypt, read with lineage, subscribe, delete. Arguments: endpoint, stream.
 */
public final class Scenario {
    private static final long PATIENCE_SECONDS = 30;

    private final KinesisAsyncClient client;
    private final String stream;

    private record Shard(List<String> records, List<String> children) {}

    private Scenario(String endpoint, String stream) {
        var credentials = AwsBasicCredentials.create(
                System.getenv("AWS_ACCESS_KEY_ID"), System.getenv("AWS_SECRET_ACCESS_KEY"));
        this.client = KinesisAsyncClient.builder()
                .endpointOverride(URI.create(endpoint))
                .region(Region.US_EAST_1)
                .credentialsProvider(StaticCredentialsProvider.create(credentials))
                .build();
        this.stream = stream;
    }

    public static void main(String[] arguments) {
        new Scenario(arguments[0], arguments[1]).run();
        System.out.println("ok");
        System.exit(0);
    }

    private void run() {
        get(client.createStream(request -> request.streamName(stream).shardCount(1)));
        untilActive();
        put(0, 20, null);
        String parent = get(client.listShards(request -> request.streamName(stream))).shards().get(0).shardId();
        String middle = BigInteger.ONE.shiftLeft(127).toString();
        get(client.splitShard(
                request -> request.streamName(stream).shardToSplit(parent).newStartingHashKey(middle)));
        untilActive();
        get(client.startStreamEncryption(request -> request.streamName(stream)
                .encryptionType(EncryptionType.KMS)
                .keyId("alias/aws/kinesis")));
        untilActive();
        put(20, 20, EncryptionType.KMS);

        Shard first = read(parent);
        check(first.records().equals(texts(0, 20)), "the parent has " + first.records());
        check(first.children().size() == 2, "the parent's children are " + first.children());
        var rest = new ArrayList<String>();
        first.children().forEach(child -> rest.addAll(read(child).records()));
        check(sorted(rest).equals(sorted(texts(20, 20))), "the children have " + rest);

        subscribe(parent, first);

        get(client.deleteStream(request -> request.streamName(stream).enforceConsumerDeletion(true)));
        until("the stream is gone", () -> {
            try {
                summary();
                return false;
            } catch (ResourceNotFoundException gone) {
                return true;
            }
        });
    }

    /** The whole parent is pushed, then its end with the children; what is put meanwhile is pushed to a child's subscriber. */
    private void subscribe(String parent, Shard first) {
        String arn = summary().streamARN();
        String consumer = get(client.registerStreamConsumer(
                        request -> request.streamARN(arn).consumerName("java")))
                .consumer()
                .consumerARN();
        until("the consumer is ACTIVE", () -> get(client.describeStreamConsumer(request -> request.consumerARN(consumer)))
                        .consumerDescription()
                        .consumerStatus()
                == ConsumerStatus.ACTIVE);

        var events = new ArrayList<SubscribeToShardEvent>();
        get(subscribe(consumer, parent, ShardIteratorType.TRIM_HORIZON, new CompletableFuture<>(), events));
        var pushed = events.stream().flatMap(event -> event.records().stream()).map(Scenario::text).toList();
        var last = events.get(events.size() - 1);
        check(pushed.equals(first.records()), "pushed was " + pushed);
        check(last.continuationSequenceNumber() == null, "the parent goes on");
        check(ids(last.childShards()).equals(first.children()), "pushed as children were " + last.childShards());

        String child = first.children().get(0);
        var received = new CompletableFuture<String>();
        var begun = new CompletableFuture<Void>();
        var live = subscribe(consumer, child, ShardIteratorType.LATEST, begun, new ArrayList<>() {
            @Override
            public boolean add(SubscribeToShardEvent event) {
                event.records().forEach(record -> received.complete(text(record)));
                return true;
            }
        });
        get(begun);
        get(client.putRecord(request -> request.streamName(stream)
                .partitionKey("live")
                .explicitHashKey("0")
                .data(SdkBytes.fromUtf8String("live"))));
        check(get(received).equals("live"), "pushed was something else");
        live.cancel(true);
    }

    private CompletableFuture<Void> subscribe(
            String consumer,
            String shard,
            ShardIteratorType from,
            CompletableFuture<Void> begun,
            List<SubscribeToShardEvent> events) {
        var visitor = SubscribeToShardResponseHandler.Visitor.builder()
                .onSubscribeToShardEvent(events::add)
                .build();
        var handler = SubscribeToShardResponseHandler.builder()
                .onResponse(response -> begun.complete(null))
                .onError(begun::completeExceptionally)
                .subscriber(visitor)
                .build();
        return client.subscribeToShard(
                request -> request.consumerARN(consumer).shardId(shard).startingPosition(start -> start.type(from)),
                handler);
    }

    private void put(int from, int count, EncryptionType encryption) {
        var entries = IntStream.range(from, from + count)
                .mapToObj(number -> PutRecordsRequestEntry.builder()
                        .partitionKey("key-" + number)
                        .data(SdkBytes.fromUtf8String("record " + number))
                        .build())
                .toList();
        var answer = get(client.putRecords(request -> request.streamName(stream).records(entries)));
        check(answer.failedRecordCount() == 0, answer.failedRecordCount() + " records were refused");
        check(answer.encryptionType() == encryption, "the encryption is " + answer.encryptionType());
    }

    private static List<String> texts(int from, int count) {
        return IntStream.range(from, from + count).mapToObj(number -> "record " + number).toList();
    }

    private static List<String> sorted(List<String> texts) {
        return texts.stream().sorted().toList();
    }

    /** All records of a shard, and what follows it. */
    private Shard read(String shard) {
        var records = new ArrayList<String>();
        String next = get(client.getShardIterator(request -> request.streamName(stream)
                        .shardId(shard)
                        .shardIteratorType(ShardIteratorType.TRIM_HORIZON)))
                .shardIterator();
        while (next != null) {
            String iterator = next;
            GetRecordsResponse page = get(client.getRecords(request -> request.shardIterator(iterator)));
            page.records().forEach(record -> records.add(text(record)));
            if (page.hasChildShards() && !page.childShards().isEmpty()) {
                return new Shard(records, ids(page.childShards()));
            }
            if (page.millisBehindLatest() == 0) {
                break;
            }
            next = page.nextShardIterator();
        }
        return new Shard(records, List.of());
    }

    private static String text(Record record) {
        return record.data().asUtf8String();
    }

    private static List<String> ids(List<ChildShard> children) {
        return children.stream().map(ChildShard::shardId).toList();
    }

    private StreamDescriptionSummary summary() {
        return get(client.describeStreamSummary(request -> request.streamName(stream))).streamDescriptionSummary();
    }

    private void untilActive() {
        until("the stream is ACTIVE", () -> summary().streamStatus() == StreamStatus.ACTIVE);
    }

    private static void until(String what, BooleanSupplier condition) {
        Instant deadline = Instant.now().plus(Duration.ofSeconds(PATIENCE_SECONDS));
        while (!condition.getAsBoolean()) {
            check(Instant.now().isBefore(deadline), "after 30 s still not: " + what);
            try {
                Thread.sleep(20);
            } catch (InterruptedException interrupted) {
                throw new IllegalStateException(interrupted);
            }
        }
    }

    private static <T> T get(CompletableFuture<T> answer) {
        try {
            return answer.orTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS).join();
        } catch (CompletionException failed) {
            if (failed.getCause() instanceof RuntimeException cause) {
                throw cause;
            }
            throw failed;
        }
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }
}

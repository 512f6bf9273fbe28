import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.StreamStatus;

/**
 * Two workers of the Kinesis Client Library share the leases of eight shards. A shard is split and two are merged while
 * records come. Then one worker is killed, and its leases move to the other one and to a new one. Arguments: ENDPOINT STREAM. An HTTPS
 * endpoint is read with enhanced fan-out, and an HTTP one by polling.
 *
 * <p>Checks: every record is processed, those of a parent before those of its children, in the order of a shard within one
 * worker, and a record is processed twice only if the killed worker had processed it. The node shows the detailed metrics
 * that the library sends to CloudWatch by default.
 */
public final class Scenario {
    private static final int SHARDS = 8;
    private static final int BATCH = 1000;
    /** Seconds: the library assigns leases only after the first metrics of its workers. */
    private static final int PATIENCE = 240;

    /** One worker process and what it has printed. */
    private static final class Child {
        final String name;
        final Process process;
        /** Shards that it has now. */
        final Set<String> leases = new HashSet<>();
        /** Records by shard and number, in the order in which they came. */
        final Map<String, List<String>> numbers = new HashMap<>();
        final Set<String> records = new HashSet<>();

        Child(String name, Process process) {
            this.name = name;
            this.process = process;
        }
    }

    private final String endpoint;
    private final String stream;
    private final KinesisAsyncClient kinesis;
    private final List<Child> children = new ArrayList<>();
    /** How often each record was processed. */
    private final Map<String, Integer> processed = new HashMap<>();
    /** Shards from which a record was processed, in order. */
    private final List<String> started = new ArrayList<>();
    private final Set<String> ended = new HashSet<>();
    private final List<String> faults = new ArrayList<>();
    private Map<String, Shard> lineage = new HashMap<>();
    private int put;

    private Scenario(String endpoint, String stream) {
        this.endpoint = endpoint;
        this.stream = stream;
        this.kinesis = KinesisAsyncClient.builder()
                .endpointOverride(URI.create(endpoint))
                .region(Region.US_EAST_1)
                .credentialsProvider(EnvironmentVariableCredentialsProvider.create())
                .build();
    }

    public static void main(String[] arguments) throws Exception {
        var scenario = new Scenario(arguments[0], arguments[1]);
        try {
            scenario.play();
        } finally {
            scenario.children.forEach(child -> child.process.destroyForcibly());
        }
        System.exit(0);
    }

    private void play() throws Exception {
        kinesis.createStream(request -> request.streamName(stream).shardCount(SHARDS)).get();
        await("the stream is ACTIVE", this::isActive);
        learnLineage();
        putRecords();
        // The library moves leases between workers only when their loads differ. A limit makes them share at once. The
        // workers of a new application must not start in the same second: the library (3.5.1) gives up the one that
        // loses the race for the row of its own version. With a limit of five, one child of the merge stayed without a
        // worker.
        Child first = start("first", SHARDS - 2);
        await("the first worker has leases", () -> count(first) > 0);
        Child second = start("second", SHARDS - 2);
        await("every record is processed", this::isCaughtUp);
        await("both workers have leases", () -> count(first) > 1 && count(second) > 1);
        kinesis.splitShard(request -> request.streamName(stream).shardToSplit("shardId-000000000000")
                .newStartingHashKey("1000000")).get();
        await("the split is done", this::isActive);
        kinesis.mergeShards(request -> request.streamName(stream).shardToMerge("shardId-000000000001")
                .adjacentShardToMerge("shardId-000000000002")).get();
        await("the merge is done", this::isActive);
        learnLineage();
        putRecords();
        await("the records of children are processed", this::isCaughtUp);
        first.process.destroyForcibly().waitFor(10, TimeUnit.SECONDS);
        start("third", Integer.MAX_VALUE);
        putRecords();
        await("the other workers process all records", this::isCaughtUp);
        await("the node shows the metrics of the library", this::hasMetrics);
        judge(first);
        kinesis.deleteStream(request -> request.streamName(stream).enforceConsumerDeletion(true)).get();
    }

    private boolean hasMetrics() {
        var request = HttpRequest.newBuilder(URI.create(endpoint + "/metrics")).build();
        try {
            String body = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
            return body.contains("anabranch_cloudwatch_samples_total{application=\"" + stream + "-app\","
                    + "metric=\"RecordsProcessed\"");
        } catch (Exception error) {
            return false;
        }
    }

    private Child start(String name, int leases) throws Exception {
        String java = ProcessHandle.current().info().command().orElse("java");
        String how = endpoint.startsWith("https") ? "fanout" : "polling";
        Process process = new ProcessBuilder(java, "-Xmx256m", "-cp", System.getProperty("java.class.path"),
                "Worker", endpoint, stream, stream + "-app", name, how, Integer.toString(leases))
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        var child = new Child(name, process);
        children.add(child);
        var lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        var reader = new Thread(() -> lines.lines().forEach(line -> follow(child, line.split(" "))), name);
        reader.setDaemon(true);
        reader.start();
        return child;
    }

    private synchronized void follow(Child child, String[] words) {
        String shard = words[1];
        switch (words[0]) {
            case "init" -> child.leases.add(shard);
            case "lost" -> child.leases.remove(shard);
            case "ended" -> {
                child.leases.remove(shard);
                ended.add(shard);
            }
            case "record" -> {
                if (!started.contains(shard)) {
                    started.add(shard);
                    Shard known = lineage.get(shard);
                    if (known != null) {
                        checkParent(shard, known.parentShardId());
                        checkParent(shard, known.adjacentParentShardId());
                    }
                }
                child.numbers.computeIfAbsent(shard, key -> new ArrayList<>()).add(words[2]);
                child.records.add(words[3]);
                processed.merge(words[3], 1, Integer::sum);
            }
            default -> System.err.println(child.name + ": " + String.join(" ", words));
        }
    }

    private void checkParent(String child, String parent) {
        if (parent != null && !ended.contains(parent)) {
            faults.add("a record of " + child + " came before the end of its parent " + parent);
        }
    }

    private synchronized int count(Child child) {
        return child.leases.size();
    }

    private synchronized boolean isCaughtUp() {
        return processed.size() >= put;
    }

    private void judge(Child killed) {
        synchronized (this) {
            for (int number = 0; number < put; number++) {
                if (!processed.containsKey("record-" + number)) {
                    faults.add("record-" + number + " was skipped");
                }
            }
            int copies = 0;
            for (var entry : processed.entrySet()) {
                copies += entry.getValue() - 1;
                if (entry.getValue() > 1 && !killed.records.contains(entry.getKey())) {
                    faults.add(entry.getKey() + " was processed again by a living worker");
                }
            }
            for (Child child : children) {
                child.numbers.forEach((shard, numbers) -> {
                    var sorted = new TreeSet<>(numbers);
                    if (!List.copyOf(sorted).equals(numbers)) {
                        faults.add(child.name + " processed " + shard + " out of order");
                    }
                });
            }
            System.out.printf("%d records, %d processed again after the kill%n", put, copies);
            if (!faults.isEmpty()) {
                throw new AssertionError(String.join("\n", faults.subList(0, Math.min(20, faults.size()))));
            }
        }
    }

    private void putRecords() throws Exception {
        for (int part = 0; part < BATCH; part += 500) {
            var entries = new ArrayList<PutRecordsRequestEntry>();
            for (int number = put; number < put + 500; number++) {
                String text = "record-" + number;
                entries.add(PutRecordsRequestEntry.builder().partitionKey(text)
                        .data(SdkBytes.fromUtf8String(text)).build());
            }
            int failed = kinesis.putRecords(request -> request.streamName(stream).records(entries)).get()
                    .failedRecordCount();
            if (failed > 0) {
                throw new AssertionError(failed + " records were refused");
            }
            put += 500;
        }
    }

    private boolean isActive() {
        var summary = kinesis.describeStreamSummary(request -> request.streamName(stream)).join();
        return summary.streamDescriptionSummary().streamStatus() == StreamStatus.ACTIVE;
    }

    private void learnLineage() throws Exception {
        var shards = kinesis.listShards(request -> request.streamName(stream)).get().shards();
        var known = new HashMap<String, Shard>();
        shards.forEach(shard -> known.put(shard.shardId(), shard));
        synchronized (this) {
            lineage = known;
        }
    }

    private void await(String what, BooleanSupplier condition) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE);
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                synchronized (this) {
                    throw new AssertionError("after " + PATIENCE + " s still not: " + what + "; " + processed.size()
                            + " of " + put + " records");
                }
            }
            Thread.sleep(50);
        }
    }
}

import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.stream.Collectors;
import software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * One worker of an ordinary application of the Kinesis Client Library 2 or 3. scenario.py describes the arguments and
 * the lines that it prints.
 */
public final class Worker {
    private Worker() {}

    private static synchronized void print(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static final class Processor implements ShardRecordProcessor {
        private String shard;
        /** The last record that was processed. */
        private String number;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
            print("init " + shard);
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            long now = System.currentTimeMillis();
            for (var record : input.records()) {
                number = record.sequenceNumber();
                String data = StandardCharsets.UTF_8.decode(record.data().duplicate()).toString();
                print("record " + shard + " " + number + " " + now + " " + data);
            }
            if (!input.records().isEmpty()) {
                checkpoint(input.checkpointer());
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            print("lost " + shard);
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            print("ended " + shard);
            checkpoint(input.checkpointer());
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            checkpoint(input.checkpointer());
        }

        private void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
                print("saved " + shard + " " + number);
            } catch (Exception error) {
                // Another worker has the lease now, and reads the records again.
                print("unsaved " + shard + " " + error.getClass().getSimpleName());
            }
        }
    }

    public static void main(String[] arguments) {
        var settings = Arrays.stream(arguments).map(argument -> argument.split("=", 2))
                .collect(Collectors.toMap(pair -> pair[0], pair -> pair[1]));
        URI endpoint = URI.create(settings.get("endpoint"));
        String stream = settings.get("stream");
        var credentials = EnvironmentVariableCredentialsProvider.create();
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(KinesisAsyncClient.builder()
                .endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(credentials));
        var tables = DynamoDbAsyncClient.builder()
                .endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(credentials).build();
        var metrics = CloudWatchAsyncClient.builder()
                .endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(credentials).build();
        var config = new ConfigsBuilder(stream, settings.get("application"), kinesis, tables, metrics,
                settings.get("worker"), Processor::new);
        var retrieval = config.retrievalConfig().initialPositionInStreamExtended(
                InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON));
        if (settings.get("how").equals("polling")) {
            var polling = new PollingConfig(stream, kinesis);
            if (settings.containsKey("idle")) {
                polling.idleTimeBetweenReadsInMillis(Long.parseLong(settings.get("idle")));
            }
            retrieval.retrievalSpecificConfig(polling);
        }
        var leases = config.leaseManagementConfig();
        if (settings.containsKey("leases")) {
            leases.maxLeasesForWorker(Integer.parseInt(settings.get("leases")));
        }
        if (settings.containsKey("failover")) {
            long failover = Long.parseLong(settings.get("failover"));
            // The first worker of an application sleeps for a whole interval after it has made the leases.
            leases.failoverTimeMillis(failover).shardSyncIntervalMillis(failover);
        }
        Version.adapt(leases, settings);
        new Scheduler(
                config.checkpointConfig(),
                config.coordinatorConfig(),
                leases,
                config.lifecycleConfig(),
                config.metricsConfig(),
                config.processorConfig(),
                retrieval).run();
    }
}

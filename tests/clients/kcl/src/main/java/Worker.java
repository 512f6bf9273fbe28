import java.net.URI;
import java.nio.charset.StandardCharsets;
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
 * One worker of an ordinary application of the Kinesis Client Library, as a process: ENDPOINT STREAM APPLICATION WORKER
 * polling|fanout LEASES, where LEASES is the most leases that it takes. One endpoint serves Kinesis and DynamoDB. It prints what happens, a line each:
 *
 * <pre>
 * init SHARD
 * record SHARD NUMBER DATA
 * ended SHARD
 * lost SHARD
 * </pre>
 */
public final class Worker {
    private Worker() {}

    private static synchronized void print(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static final class Processor implements ShardRecordProcessor {
        private String shard;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
            print("init " + shard);
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            for (var record : input.records()) {
                String data = StandardCharsets.UTF_8.decode(record.data().duplicate()).toString();
                print("record " + shard + " " + record.sequenceNumber() + " " + data);
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
            } catch (Exception error) {
                // Another worker has the lease now, and reads the records again.
                print("unsaved " + shard + " " + error.getClass().getSimpleName());
            }
        }
    }

    public static void main(String[] arguments) {
        URI endpoint = URI.create(arguments[0]);
        String stream = arguments[1], application = arguments[2], worker = arguments[3];
        var credentials = EnvironmentVariableCredentialsProvider.create();
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(KinesisAsyncClient.builder()
                .endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(credentials));
        var tables = DynamoDbAsyncClient.builder()
                .endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(credentials).build();
        var metrics = CloudWatchAsyncClient.builder()
                .endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(credentials).build();
        var config = new ConfigsBuilder(stream, application, kinesis, tables, metrics, worker, Processor::new);
        var retrieval = config.retrievalConfig().initialPositionInStreamExtended(
                InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON));
        if (arguments[4].equals("polling")) {
            retrieval.retrievalSpecificConfig(new PollingConfig(stream, kinesis));
        }
        var leases = config.leaseManagementConfig().maxLeasesForWorker(Integer.parseInt(arguments[5]));
        // The assignment must not depend on the CPU load of this machine, on which other programs run.
        leases.workerUtilizationAwareAssignmentConfig().disableWorkerMetrics(true);
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

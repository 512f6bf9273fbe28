import com.amazonaws.auth.EnvironmentVariableCredentialsProvider;
import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.services.cloudwatch.AmazonCloudWatchClientBuilder;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.IRecordProcessorCheckpointer;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.v2.IRecordProcessor;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.v2.IRecordProcessorFactory;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.InitialPositionInStream;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.KinesisClientLibConfiguration;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.ShutdownReason;
import com.amazonaws.services.kinesis.clientlibrary.types.InitializationInput;
import com.amazonaws.services.kinesis.clientlibrary.types.ProcessRecordsInput;
import com.amazonaws.services.kinesis.clientlibrary.types.ShutdownInput;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.stream.Collectors;

/**
 * One worker of an ordinary application of the Kinesis Client Library 1. scenario.py describes the arguments and the
 * lines that it prints.
 */
public final class Worker {
    private static final String REGION = "us-east-1";

    private Worker() {}

    private static synchronized void print(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static final class Processor implements IRecordProcessor {
        private String shard;
        /** The last record that was processed. */
        private String number;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.getShardId();
            print("init " + shard);
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            long now = System.currentTimeMillis();
            for (var record : input.getRecords()) {
                number = record.getSequenceNumber();
                String data = StandardCharsets.UTF_8.decode(record.getData().duplicate()).toString();
                print("record " + shard + " " + number + " " + now + " " + data);
            }
            if (!input.getRecords().isEmpty()) {
                checkpoint(input.getCheckpointer());
            }
        }

        @Override
        public void shutdown(ShutdownInput input) {
            if (input.getShutdownReason() == ShutdownReason.TERMINATE) {
                print("ended " + shard);
                checkpoint(input.getCheckpointer());
            } else {
                print("lost " + shard);
            }
        }

        private void checkpoint(IRecordProcessorCheckpointer checkpointer) {
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
        String endpoint = settings.get("endpoint");
        var credentials = new EnvironmentVariableCredentialsProvider();
        var config = new KinesisClientLibConfiguration(
                settings.get("application"), settings.get("stream"), credentials, settings.get("worker"))
                .withRegionName(REGION)
                .withKinesisEndpoint(endpoint)
                .withDynamoDBEndpoint(endpoint)
                .withInitialPositionInStream(InitialPositionInStream.TRIM_HORIZON);
        if (settings.containsKey("idle")) {
            config.withIdleTimeBetweenReadsInMillis(Long.parseLong(settings.get("idle")));
        }
        if (settings.containsKey("leases")) {
            config.withMaxLeasesForWorker(Integer.parseInt(settings.get("leases")));
        }
        if (settings.containsKey("failover")) {
            long failover = Long.parseLong(settings.get("failover"));
            config.withFailoverTimeMillis(failover).withShardSyncIntervalMillis(failover);
        }
        var metrics = AmazonCloudWatchClientBuilder.standard()
                .withEndpointConfiguration(new EndpointConfiguration(endpoint, REGION))
                .withCredentials(credentials).build();
        IRecordProcessorFactory processors = Processor::new;
        new com.amazonaws.services.kinesis.clientlibrary.lib.worker.Worker.Builder()
                .recordProcessorFactory(processors)
                .config(config)
                .cloudWatchClient(metrics)
                .build()
                .run();
    }
}

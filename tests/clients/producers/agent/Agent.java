import com.amazonaws.ClientConfiguration;
import com.amazonaws.auth.EnvironmentVariableCredentialsProvider;
import com.amazonaws.services.cloudwatch.AmazonCloudWatchClient;
import com.amazonaws.services.cloudwatch.model.Dimension;
import com.amazonaws.services.cloudwatch.model.MetricDatum;
import com.amazonaws.services.cloudwatch.model.PutMetricDataRequest;
import com.amazonaws.services.cloudwatch.model.StandardUnit;
import com.amazonaws.services.cloudwatch.model.StatisticSet;
import com.amazonaws.services.kinesis.AmazonKinesisClient;
import com.amazonaws.services.kinesis.model.PutRecordsRequest;
import com.amazonaws.services.kinesis.model.PutRecordsRequestEntry;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Makes the calls of the Kinesis Agent: with version 1 of the AWS SDK, with the agent's settings of its HTTP client, and
 * in the agent's batches. Argument: CONFIGURATION_FILE. It puts each line of the file of the first flow, sends the
 * metrics of each call, and ends.
 */
@SuppressWarnings("deprecation")
public final class Agent {
    private static final int BATCH = 500;

    private final JsonNode configuration;
    private final AmazonKinesisClient kinesis;
    private final AmazonCloudWatchClient metrics;
    private final String stream;

    private Agent(JsonNode configuration) {
        this.configuration = configuration;
        var credentials = new EnvironmentVariableCredentialsProvider();
        kinesis = new AmazonKinesisClient(credentials, client());
        kinesis.setEndpoint(configuration.get("kinesis.endpoint").textValue());
        metrics = new AmazonCloudWatchClient(credentials, client());
        metrics.setEndpoint(configuration.get("cloudwatch.endpoint").textValue());
        stream = configuration.get("flows").get(0).get("kinesisStream").textValue();
    }

    private ClientConfiguration client() {
        var client = new ClientConfiguration();
        client.setUserAgent("aws-kinesis-agent/2.0.11 " + client.getUserAgent());
        int threads = Math.max(2, 12 * Runtime.getRuntime().availableProcessors());
        client.setMaxConnections(Math.max(ClientConfiguration.DEFAULT_MAX_CONNECTIONS, threads));
        client.setUseGzip(configuration.path("useHttpGzip").asBoolean(ClientConfiguration.DEFAULT_USE_GZIP));
        return client;
    }

    private void put(List<String> lines) {
        List<PutRecordsRequestEntry> entries = new ArrayList<>();
        for (String line : lines) {
            entries.add(new PutRecordsRequestEntry()
                    .withData(ByteBuffer.wrap((line + "\n").getBytes(StandardCharsets.UTF_8)))
                    .withPartitionKey("" + ThreadLocalRandom.current().nextDouble(1000000)));
        }
        while (!entries.isEmpty()) {
            var request = new PutRecordsRequest().withStreamName(stream).withRecords(entries);
            var results = kinesis.putRecords(request).getRecords();
            List<PutRecordsRequestEntry> failed = new ArrayList<>();
            for (int index = 0; index < results.size(); index++) {
                if (results.get(index).getErrorCode() != null) {
                    failed.add(entries.get(index));
                }
            }
            send(entries.size(), failed.size());
            entries = failed;
        }
    }

    private void send(int attempts, int errors) {
        var data = List.of(
                count("RecordSendAttempts", attempts),
                count("RecordSendErrors", errors),
                count("ServiceErrors", 0));
        metrics.putMetricData(new PutMetricDataRequest().withNamespace("AWSKinesisAgent").withMetricData(data));
    }

    private MetricDatum count(String name, double value) {
        return new MetricDatum()
                .withMetricName(name)
                .withDimensions(new Dimension().withName("Destination").withValue("KinesisStream:" + stream))
                .withTimestamp(new Date())
                .withUnit(StandardUnit.Count)
                .withStatisticValues(new StatisticSet()
                        .withSampleCount(1.0).withSum(value).withMinimum(value).withMaximum(value));
    }

    public static void main(String[] arguments) throws Exception {
        JsonNode configuration = new ObjectMapper().readTree(new File(arguments[0]));
        var agent = new Agent(configuration);
        var file = Path.of(configuration.get("flows").get(0).get("filePattern").textValue());
        List<String> lines = Files.readAllLines(file);
        for (int begin = 0; begin < lines.size(); begin += BATCH) {
            agent.put(lines.subList(begin, Math.min(begin + BATCH, lines.size())));
        }
        agent.kinesis.shutdown();
        agent.metrics.shutdown();
    }
}

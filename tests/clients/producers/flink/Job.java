import java.io.FileReader;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.kinesis.sink.KinesisStreamsSink;
import org.apache.flink.connector.kinesis.source.KinesisStreamsSource;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.connectors.kinesis.FlinkKinesisConsumer;

/**
 * A job of Flink in this process. Arguments: WHAT PROPERTIES_FILE STREAM_ARN.
 *
 *   sink      puts 5,000 records KEY:record-N, and ends
 *   source    prints the records that KinesisStreamsSource reads
 *   consumer  prints the records that FlinkKinesisConsumer reads
 *
 * A job that reads fails once, after 500 records, and goes on from its last checkpoint.
 */
public final class Job {
    private static final int RECORDS = 5000;
    private static final int FAILS_AFTER = 500;

    private Job() {}

    /** Fails once in the life of the process. */
    private static final class Failing implements MapFunction<String, String> {
        private static final AtomicInteger RECORDS = new AtomicInteger();

        @Override
        public String map(String record) {
            if (RECORDS.incrementAndGet() == FAILS_AFTER) {
                throw new IllegalStateException("the failure of this test");
            }
            return record;
        }
    }

    public static void main(String[] arguments) throws Exception {
        var settings = new Properties();
        try (var reader = new FileReader(arguments[1])) {
            settings.load(reader);
        }
        String arn = arguments[2];
        String name = arn.substring(arn.indexOf('/') + 1);
        var environment = StreamExecutionEnvironment.createLocalEnvironment(2);
        environment.enableCheckpointing(1000);
        if (arguments[0].equals("sink")) {
            put(environment, settings, arn);
            return;
        }
        DataStream<String> records = arguments[0].equals("source")
                ? environment.fromSource(source(settings, arn), WatermarkStrategy.noWatermarks(), "", Types.STRING)
                : environment.addSource(new FlinkKinesisConsumer<>(name, new SimpleStringSchema(), settings));
        try (var results = records.map(new Failing()).executeAndCollect()) {
            results.forEachRemaining(System.out::println);
        }
    }

    private static void put(StreamExecutionEnvironment environment, Properties settings, String arn) throws Exception {
        KinesisStreamsSink<String> sink = KinesisStreamsSink.<String>builder()
                .setStreamArn(arn)
                .setKinesisClientProperties(settings)
                .setSerializationSchema(new SimpleStringSchema())
                .setPartitionKeyGenerator(record -> record.substring(0, record.indexOf(':')))
                .build();
        // One task puts all records, because records of one key keep their order only within a task.
        environment.setParallelism(1);
        environment.fromSequence(0, RECORDS - 1)
                .map(number -> "key-" + number % 7 + ":record-" + number).returns(String.class)
                .sinkTo(sink);
        environment.execute();
    }

    private static KinesisStreamsSource<String> source(Properties settings, String arn) {
        var config = new Configuration();
        settings.stringPropertyNames().forEach(name -> config.setString(name, settings.getProperty(name)));
        return KinesisStreamsSource.<String>builder()
                .setStreamArn(arn)
                .setSourceConfig(config)
                .setDeserializationSchema(new SimpleStringSchema())
                .build();
    }
}

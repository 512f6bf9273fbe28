import com.google.common.util.concurrent.FutureCallback;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.MoreExecutors;
import com.google.common.util.concurrent.RateLimiter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Semaphore;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordFailedException;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * Puts user records with the Kinesis Producer Library. Arguments: PROPERTIES_FILE STREAM. The first byte of the
 * standard input ends the puts, the second one the program. Record N has the data record-N and the partition key
 * key-(N mod 997). The program prints a line for each record:
 *
 *   stored N SHARD NUMBER
 *   failed N REASON
 */
public final class Producer {
    /** The user records that may be under way. */
    private static final Semaphore ROOM = new Semaphore(2000);

    private static final double RECORDS_PER_SECOND = 2000;

    private Producer() {}

    private static synchronized void print(String line) {
        System.out.println(line);
    }

    private static void put(KinesisProducer producer, String stream, int number) throws InterruptedException {
        ROOM.acquire();
        var data = ByteBuffer.wrap(("record-" + number).getBytes(StandardCharsets.UTF_8));
        var result = producer.addUserRecord(stream, "key-" + number % 997, data);
        Futures.addCallback(result, new FutureCallback<UserRecordResult>() {
            @Override
            public void onSuccess(UserRecordResult stored) {
                ROOM.release();
                print("stored " + number + " " + stored.getShardId() + " " + stored.getSequenceNumber());
            }

            @Override
            public void onFailure(Throwable error) {
                ROOM.release();
                String reason = error.toString();
                if (error instanceof UserRecordFailedException failed) {
                    var attempts = failed.getResult().getAttempts();
                    var last = attempts.get(attempts.size() - 1);
                    reason = last.getErrorCode() + ": " + last.getErrorMessage();
                }
                print("failed " + number + " " + reason);
            }
        }, MoreExecutors.directExecutor());
    }

    public static void main(String[] arguments) throws Exception {
        var producer = new KinesisProducer(KinesisProducerConfiguration.fromPropertiesFile(arguments[0]));
        var rate = RateLimiter.create(RECORDS_PER_SECOND);
        for (int number = 0; System.in.available() == 0; number++) {
            rate.acquire();
            put(producer, arguments[1], number);
        }
        producer.flushSync();
        System.in.readNBytes(2);
        producer.destroy();
        System.exit(0);
    }
}

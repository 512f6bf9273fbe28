import java.util.Map;
import software.amazon.kinesis.leases.LeaseManagementConfig;

/** Version 2 has no settings of its own. */
final class Version {
    private Version() {}

    static void adapt(LeaseManagementConfig leases, Map<String, String> settings) {}
}

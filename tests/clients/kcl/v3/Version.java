import java.util.Map;
import software.amazon.kinesis.leases.LeaseManagementConfig;

/** What only version 3 has. */
final class Version {
    private Version() {}

    static void adapt(LeaseManagementConfig leases, Map<String, String> settings) {
        var assignment = leases.workerUtilizationAwareAssignmentConfig();
        // The assignment must not depend on the CPU load of this machine, on which other programs run.
        assignment.disableWorkerMetrics(true);
        if (settings.containsKey("failover")) {
            // The library assigns leases only to workers that have reported, by default every 30 s. A dead leader
            // holds its lock for 120 s by default.
            long failover = Long.parseLong(settings.get("failover"));
            assignment.workerMetricsReporterFreqInMillis(failover);
            leases.leaseAssignmentIntervalMillis(failover);
            leases.dynamoDbLockBasedLeaderLeaseDurationInMillis(4 * failover);
            leases.dynamoDbLockBasedLeaderHeartbeatPeriodInMillis(failover);
        }
    }
}

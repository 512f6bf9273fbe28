//! Operations of DynamoDB that no Kinesis Client Library calls. They are known, so that the error names them.

use crate::error::Error;

/// The names, in alphabetical order. Source: the model of the API that the SDKs contain.
const NAMES: &[&str] = &[
    "BatchExecuteStatement",
    "BatchGetItem",
    "BatchWriteItem",
    "CancelBulkOperation",
    "CreateBackup",
    "CreateGlobalTable",
    "DeleteBackup",
    "DeleteResourcePolicy",
    "DescribeBackup",
    "DescribeBulkOperation",
    "DescribeContributorInsights",
    "DescribeEndpoints",
    "DescribeExport",
    "DescribeGlobalTable",
    "DescribeGlobalTableSettings",
    "DescribeImport",
    "DescribeKinesisStreamingDestination",
    "DescribeLimits",
    "DescribeTableReplicaAutoScaling",
    "DisableKinesisStreamingDestination",
    "EnableKinesisStreamingDestination",
    "ExecuteStatement",
    "ExecuteTransaction",
    "ExportTableToPointInTime",
    "GetResourcePolicy",
    "ImportTable",
    "ListBackups",
    "ListBulkOperations",
    "ListContributorInsights",
    "ListExports",
    "ListGlobalTables",
    "ListImports",
    "ListTagsOfResource",
    "PutResourcePolicy",
    "RestoreTableFromBackup",
    "RestoreTableToPointInTime",
    "SearchVectors",
    "StartBulkPutItems",
    "TagResource",
    "TransactGetItems",
    "UntagResource",
    "UpdateContributorInsights",
    "UpdateGlobalTable",
    "UpdateGlobalTableSettings",
    "UpdateKinesisStreamingDestination",
    "UpdateTableReplicaAutoScaling",
    "UpdateTimeToLive",
];

/// The error for an operation that DynamoDB has and this service does not. `None` if DynamoDB does not have it either.
pub fn unsupported(operation: &str) -> Option<Error> {
    NAMES.binary_search(&operation).ok().map(|_| Error::unsupported(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_is_not_supported_is_named() {
        assert!(NAMES.is_sorted());
        let text = |operation| unsupported(operation).map(|error| error.to_string());
        assert_eq!(
            text("BatchGetItem").as_deref(),
            Some("BatchGetItem is not supported by this endpoint")
        );
        assert_eq!([text("GetItem"), text("Nonsense")], [None, None]);
    }
}

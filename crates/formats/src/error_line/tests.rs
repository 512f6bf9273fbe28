//! The lines, byte for byte.

use super::*;
use crate::error_type::ErrorType;
use crate::record::tests::record;

fn line(details: &Details<'_>) -> String {
    let failure = Failure {
        record: record("{\"a\":1}\n"),
        error_type: ErrorType::ProcessingFailed,
        code: "Some.Code".into(),
        message: "it \"failed\"".into(),
    };
    let attempts = Attempts { made: 4, ended: Timestamp::from_millis(1_700_000_160_000) };
    String::from_utf8(error_line(&failure, attempts, details)).unwrap()
}

const ATTEMPT: &str = r#""attemptsMade":4,"arrivalTimestamp":1700000100250,"errorCode":"Some.Code","errorMessage":"it \"failed\"","attemptEndingTimestamp":1700000160000"#;
const DATA: &str = r#""rawData":"eyJhIjoxfQo=""#;

#[test]
fn a_stage() {
    assert_eq!(line(&Details::Stage), format!("{{{ATTEMPT},{DATA}}}\n"));
}

#[test]
fn a_function() {
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    assert_eq!(
        line(&Details::Function { arn }),
        concat!(
            r#"{"rawData":"eyJhIjoxfQo=","errorCode":"Some.Code","errorMessage":"it \"failed\"","attemptsMade":4,"#,
            r#""arrivalTimestamp":1700000100250,"attemptEndingTimestamp":1700000160000,"#,
            r#""lambdaARN":"arn:aws:lambda:us-east-1:000000000000:function:f"}"#,
            "\n"
        )
    );
}

#[test]
fn a_conversion() {
    let table = CatalogTable {
        catalog_id: "000000000000",
        database_name: "sales",
        table_name: "orders",
        region: "us-east-1",
        version_id: "LATEST",
        catalog_arn: "",
    };
    let sequence = record("").sequence;
    assert_eq!(
        line(&Details::Conversion(table)),
        format!(
            concat!(
                r#"{{"attemptsMade":4,"arrivalTimestamp":1700000100250,"lastErrorCode":"Some.Code","#,
                r#""lastErrorMessage":"it \"failed\"","attemptEndingTimestamp":1700000160000,{},"#,
                r#""sequenceNumber":"{}","subSequenceNumber":0,"dataCatalogTable":{{"#,
                r#""catalogId":"000000000000","databaseName":"sales","tableName":"orders","#,
                r#""region":"us-east-1","versionId":"LATEST"}}}}"#,
                "\n"
            ),
            DATA, sequence
        )
    );
}

#[test]
fn a_document() {
    let document = Details::Document { id: "i", index: "n-2026-01-01", type_name: "" };
    assert_eq!(
        line(&document),
        format!(
            "{{{ATTEMPT},\"esDocumentId\":\"i\",\"esIndexName\":\"n-2026-01-01\",\"esTypeName\":\"\",{DATA}}}\n"
        )
    );
    let serverless = Details::ServerlessDocument { id: "i", index: "n" };
    assert_eq!(
        line(&serverless),
        format!("{{{ATTEMPT},\"osDocumentId\":\"i\",\"osIndexName\":\"n\",{DATA}}}\n")
    );
}

#[test]
fn an_http_endpoint() {
    let sequence = record("").sequence;
    assert_eq!(
        line(&Details::HttpEndpoint),
        format!("{{{ATTEMPT},{DATA},\"subsequenceNumber\":0,\"dataId\":\"{sequence}.0\"}}\n")
    );
}

#[test]
fn splunk() {
    let splunk = Details::Splunk { event_id: "e" };
    assert_eq!(line(&splunk), format!("{{{ATTEMPT},{DATA},\"EventId\":\"e\"}}\n"));
}

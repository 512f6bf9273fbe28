//! CloudWatch as a service of the gateway: names, and the table of operations.

use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::Protocol;
use anabranch_gateway::run;
use anabranch_gateway::service::{
    Kind, Operation, QueryNames, Service, ServiceError as _, ServiceNames,
};

use crate::cloudwatch::{CloudWatch, NoScope};
use crate::error::Error;
use crate::put_metric_data::PutMetricData;
use crate::unsupported::unsupported;

/// All operations. The kind `Read` means: on the catalog of this node. No operation of CloudWatch needs the newest one.
const OPERATIONS: &[Operation<CloudWatch>] = &[Operation {
    name: "PutMetricData",
    kind: Kind::Read,
    limit: None,
    perform: |call| run::<_, PutMetricData<'_>>(call),
}];

impl Service for CloudWatch {
    const NAMES: ServiceNames = ServiceNames {
        target: "GraniteServiceVersion20100801",
        protocols: &[Protocol::Json10, Protocol::RpcV2Cbor, Protocol::Query],
        signing: "monitoring",
        actions: "cloudwatch",
        query: Some(QueryNames {
            version: "2010-08-01",
            namespace: "http://monitoring.amazonaws.com/doc/2010-08-01/",
        }),
    };
    const OPERATIONS: &'static [Operation<Self>] = OPERATIONS;

    type Error = Error;
    type Scope = NoScope;
    type Subject = ();

    fn unsupported(operation: &str) -> Option<Fault> {
        unsupported(operation).map(|error| error.fault())
    }

    fn throttled(_: Kind, message: String) -> Fault {
        Error::Throttled(message).fault()
    }
}

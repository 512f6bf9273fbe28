//! The `TableDescription` of the API.

use anabranch_aws::wire::Writer;
use anabranch_types::{AccountId, Region, Timestamp};

use super::{Billing, Definition, Index, KeyKind, KeySchema, Projection, Table, Throughput};

/// Where the tables are: the parts of an ARN.
#[derive(Clone, Debug, Default)]
pub struct Home {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Region,
}

impl Home {
    /// The ARN of a table.
    pub fn table_arn(&self, name: &str) -> String {
        format!("arn:aws:dynamodb:{}:{}:table/{name}", self.region, self.account)
    }
}

/// Writes a `TableDescription`. `status` is `ACTIVE`, except in the response of DeleteTable.
pub fn write(w: &mut Writer, home: &Home, table: &Table, status: &'static str) {
    let definition = &table.definition;
    let arn = home.table_arn(&definition.name);
    let size = table.size(definition.space());
    w.structure(|w| {
        w.member("AttributeDefinitions").list(|w| {
            for attribute in &definition.attributes {
                w.structure(|w| {
                    w.member("AttributeName").text(&attribute.name);
                    w.member("AttributeType").text(kind_name(attribute.kind));
                });
            }
        });
        w.member("TableName").text(&definition.name);
        write_key(w, &definition.key);
        w.member("TableStatus").text(status);
        w.member("CreationDateTime").timestamp(Timestamp::from_millis(definition.created));
        write_throughput(w, definition.throughput());
        w.member("TableSizeBytes").number(size.bytes);
        w.member("ItemCount").number(size.items);
        w.member("TableArn").text(&arn);
        w.member("TableId").plain(definition.id);
        if let Billing::PayPerRequest { since } = definition.billing {
            w.member("BillingModeSummary").structure(|w| {
                w.member("BillingMode").text("PAY_PER_REQUEST");
                let since = Timestamp::from_millis(since);
                w.member("LastUpdateToPayPerRequestDateTime").timestamp(since);
            });
        }
        if !definition.indexes.is_empty() {
            w.member("GlobalSecondaryIndexes").list(|w| {
                definition.indexes.iter().for_each(|index| write_index(w, table, index, &arn));
            });
        }
        w.member("DeletionProtectionEnabled").flag(definition.deletion_protection);
    });
}

impl Definition {
    /// The provisioned capacities, which are zero for a table that is paid per request.
    pub(crate) const fn throughput(&self) -> Throughput {
        match self.billing {
            Billing::Provisioned(throughput) => throughput,
            Billing::PayPerRequest { .. } => Throughput { read: 0, write: 0 },
        }
    }
}

/// The name of a type in the API.
const fn kind_name(kind: KeyKind) -> &'static str {
    kind.kind().name()
}

fn write_key(w: &mut Writer, key: &KeySchema) {
    w.member("KeySchema").list(|w| {
        for (attribute, role) in key.attributes().zip(["HASH", "RANGE"]) {
            w.structure(|w| {
                w.member("AttributeName").text(&attribute.name);
                w.member("KeyType").text(role);
            });
        }
    });
}

fn write_throughput(w: &mut Writer, throughput: Throughput) {
    w.member("ProvisionedThroughput").structure(|w| {
        w.member("NumberOfDecreasesToday").number(0);
        w.member("ReadCapacityUnits").number(throughput.read);
        w.member("WriteCapacityUnits").number(throughput.write);
    });
}

fn write_index(w: &mut Writer, table: &Table, index: &Index, table_arn: &str) {
    let size = table.size(table.definition.index_space(index));
    w.structure(|w| {
        w.member("IndexName").text(&index.name);
        write_key(w, &index.key);
        w.member("Projection").structure(|w| {
            let (name, attributes) = match &index.projection {
                Projection::KeysOnly => ("KEYS_ONLY", None),
                Projection::Include(attributes) => ("INCLUDE", Some(attributes)),
                Projection::All => ("ALL", None),
            };
            w.member("ProjectionType").text(name);
            if let Some(attributes) = attributes {
                w.member("NonKeyAttributes")
                    .list(|w| attributes.iter().for_each(|name| w.text(name)));
            }
        });
        w.member("IndexStatus").text(if index.is_backfilling { "CREATING" } else { "ACTIVE" });
        if index.is_backfilling {
            w.member("Backfilling").flag(true);
        }
        write_throughput(w, index.throughput);
        w.member("IndexSizeBytes").number(size.bytes);
        w.member("ItemCount").number(size.items);
        w.member("IndexArn").text(&format!("{table_arn}/index/{}", index.name));
    });
}

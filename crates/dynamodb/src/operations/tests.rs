//! Calls that each operation accepts or refuses, on a storage in memory.

mod errors;
mod kcl;
mod pages;
mod random;
mod tables;
mod transactions;

use crate::testing::Memory;

/// A storage with the table `orders`, hash key `id` and range key `line`, and the index `by-owner`.
fn orders() -> Memory {
    let mut memory = Memory::new();
    memory.ok(
        "CreateTable",
        r#"{"TableName":"orders","BillingMode":"PAY_PER_REQUEST",
            "AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"},{"AttributeName":"line","AttributeType":"N"},
                {"AttributeName":"owner","AttributeType":"S"}],
            "KeySchema":[{"AttributeName":"id","KeyType":"HASH"},{"AttributeName":"line","KeyType":"RANGE"}],
            "GlobalSecondaryIndexes":[{"IndexName":"by-owner","KeySchema":[{"AttributeName":"owner","KeyType":"HASH"}],
                "Projection":{"ProjectionType":"INCLUDE","NonKeyAttributes":["note"]}}]}"#,
    );
    memory
}

//! The stored form of definitions.

use std::collections::BTreeMap;

use super::*;

/// A definition as it is stored. This text must be readable for ever.
#[test]
fn the_stored_form_of_a_definition_is_readable() {
    let stored = r#"{"name":"app","id":"000102030405060708090a0b0c0d0e0f","created":1700000000000,
        "attributes":[{"name":"leaseKey","kind":"S"},{"name":"leaseOwner","kind":"S"}],
        "key":{"hash":{"name":"leaseKey","kind":"S"},"range":null},
        "billing":{"PayPerRequest":{"since":1700000000000}},
        "indexes":[{"name":"by-owner","number":0,"key":{"hash":{"name":"leaseOwner","kind":"S"},
            "range":{"name":"leaseKey","kind":"S"}},"projection":"KeysOnly","throughput":{"read":0,"write":0},
            "is_backfilling":false}],
        "next_index":1,"deletion_protection":false,"tags":{"team":"a"},"point_in_time_recovery":false}"#;
    let row = Row { version: 7, value: stored.as_bytes().to_vec() };
    let table = Table::from_row(&row, BTreeMap::new()).unwrap();
    assert_eq!(table.version, 7);
    let definition = &table.definition;
    assert_eq!(definition.id.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    let again = Row { version: 7, value: definition.stored().unwrap() };
    assert_eq!(Table::from_row(&again, BTreeMap::new()), Ok(table.clone()));
    for damaged in ["", "{}", &stored.replace("0e0f", "0eé"), &stored.replace("0e0f", "0e")] {
        let row = Row { version: 7, value: damaged.as_bytes().to_vec() };
        assert!(matches!(Table::from_row(&row, BTreeMap::new()), Err(Error::Internal { .. })));
    }
}

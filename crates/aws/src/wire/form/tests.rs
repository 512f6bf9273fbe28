//! Tests of forms: names, types, lists, and hostile bodies.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::wire::{
    Blob, DecodeError, Flag, Format, Integer, List, Moment, Real, Structure, Text, decode,
};

/// A request with one member of each type.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Blob<'a>>,
    limit: Option<Integer>,
    value: Option<Real>,
    flag: Option<Flag>,
    at: Option<Moment>,
    values: Option<List<Real, 3>>,
    #[serde(borrow)]
    items: Option<List<Structure<Item<'a>>>>,
    #[serde(borrow)]
    item: Option<Structure<Item<'a>>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Item<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

fn read(form: &str) -> Result<Request<'_>, DecodeError> {
    decode(Format::Query, form.as_bytes())
}

fn fault(form: &str) -> String {
    match read(form) {
        Err(DecodeError::Type(text)) => text,
        other => panic!("{form}: {other:?}"),
    }
}

#[test]
fn every_type_is_read_from_text() {
    let form = "Action=X&Name=a%20b%2Bc+d%C3%A9&Data=AAEC&Limit=-5&Value=1.5e3&Flag=true\
                &At=2026-01-31T10:20:30.500Z&Item.Name=one&Unknown.member.1=x";
    let request = read(form).unwrap();
    assert_eq!(request.name.as_deref(), Some("a b+c dé"));
    assert_eq!(request.data, Some(Blob::Raw(vec![0, 1, 2].into())));
    assert_eq!(request.limit, Some(Integer(-5)));
    assert_eq!(request.value, Some(Real(1500.0)));
    assert_eq!(request.flag, Some(Flag(true)));
    assert_eq!(request.at.unwrap().0.as_millis(), 1_769_854_830_500);
    assert_eq!(&**request.item.unwrap().0.name.as_ref().unwrap(), "one");
}

#[test]
fn an_empty_form_and_empty_fields_are_requests_without_members() {
    assert_eq!(read(""), Ok(Request::default()));
    assert_eq!(read("&&"), Ok(Request::default()));
    let empty = read("Name=&Values=&Items=&Item").unwrap();
    assert_eq!(&**empty.name.as_ref().unwrap(), "");
    assert_eq!((empty.values.unwrap().count(), empty.items.unwrap().count()), (0, 0));
    assert_eq!(empty.item, Some(Structure(Item::default())));
}

#[test]
fn numbers_order_a_list_and_gaps_have_no_values() {
    let form = "Values.member.10=3&Values.member.9=2&Values.member.2=1";
    assert_eq!(read(form).unwrap().values.unwrap().members(), [Real(1.0), Real(2.0), Real(3.0)]);
    let far = "Items.member.999999999999999999999999.Name=z&Items.member.7.Name=a";
    let items = read(far).unwrap().items.unwrap();
    let names: Vec<_> =
        items.members().iter().map(|item| &**item.0.name.as_ref().unwrap()).collect();
    assert_eq!((items.count(), names), (2, vec!["a", "z"]));
}

#[test]
fn a_list_keeps_as_many_values_as_the_operation_accepts_and_counts_the_others() {
    let form: Vec<_> = (1..=5).map(|number| format!("Values.member.{number}={number}")).collect();
    let values = read(&form.join("&")).unwrap().values.unwrap();
    assert_eq!((values.members().len(), values.count()), (3, 5));
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    for form in [
        "Limit=five",
        "Limit=",
        "Limit=1.5",
        "Value=much",
        "Flag=yes",
        "At=yesterday",
        "Data=a",
        "Name.member.1=x",
        "Name=a&Name=b",
        "Name=a&Name.x=b",
        "Values=1",
        "Values.1=1",
        "Values.member=1",
        "Values.member.0=1",
        "Values.member.01=1",
        "Values.member.x=1",
        "Values.member.-1=1",
        "Values.member.1=1&Values.member.1=2",
        "Values.member.1=1&Values.other.1=2",
        "Values.member.1.x=1",
        "Values..1=1",
        "Items.member.1=x",
        "Item=x",
    ] {
        assert!(!fault(form).is_empty(), "{form}");
    }
    assert_eq!(fault("Name.member.1=x"), "Start of structure or map found where not expected.");
}

#[test]
fn only_utf_8_is_a_form() {
    for form in [&b"Name=\xff"[..], b"\xff=1", b"Name=%ff", b"Name=%C3", b"Na%ffme=1", b"Name=+%ff"]
    {
        let read: Result<Request<'_>, _> = decode(Format::Query, form);
        assert!(matches!(read, Err(DecodeError::Malformed(_))), "{read:?}");
    }
    // A percent sign without two digits is itself, as browsers read it.
    assert_eq!(&**read("Name=100%&Limit=1").unwrap().name.as_ref().unwrap(), "100%");
}

#[test]
fn a_form_has_a_largest_number_of_fields() {
    let form = |fields: usize| "a&".repeat(fields);
    assert_eq!(read(&form(50_000)), Ok(Request::default()));
    assert!(matches!(read(&form(50_001)), Err(DecodeError::TooMany(_))));
    let members: Vec<_> = (1..=10_001).map(|at| format!("Items.member.{at}.Name=x")).collect();
    assert!(matches!(read(&members.join("&")), Err(DecodeError::TooMany(_))));
}

#[test]
fn a_deep_name_costs_no_more_than_its_bytes() {
    let deep = format!("{}=1&Name=a", "Item.".repeat(200_000));
    assert_eq!(read(&deep).unwrap().name.as_deref(), Some("a"));
    let ignored: Result<IgnoredAny, _> = decode(Format::Query, deep.as_bytes());
    assert!(ignored.is_ok());
}

#[test]
fn a_field_is_found_by_its_plain_name() {
    let field = |form: &'static str| super::field(form.as_bytes(), "Action").map(String::from);
    assert_eq!(field("Version=1&Action=Put+It%21&Action=No"), Some("Put It!".to_owned()));
    assert_eq!(field("Action"), Some(String::new()));
    assert_eq!([field(""), field("Actions=x&action=y"), field("Action=%ff")], [None, None, None]);
}

#[test]
fn the_order_of_paths_is_total() {
    let mut paths = ["2", "10", "1a", "a.b", "a", "a.b.c", "", "a..", "9", "a.10", "a.9"];
    paths.sort_by(|one, other| super::by_path(one, other));
    assert_eq!(paths, ["", "2", "9", "a", "a..", "a.9", "a.b", "a.b.c", "a.10", "10", "1a"]);
}

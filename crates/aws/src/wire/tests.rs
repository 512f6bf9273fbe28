//! Tests of decoding and writing bodies: JSON and CBOR agree, faults have the texts of AWS, hostile bodies are
//! refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anabranch_types::Timestamp;
use base64_simd::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// A request with one member of each type.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Everything<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Blob<'a>>,
    limit: Option<Integer>,
    flag: Option<Flag>,
    at: Option<Moment>,
    #[serde(borrow)]
    tags: Option<Map<'a>>,
    #[serde(borrow)]
    records: Option<List<Structure<Entry<'a>>>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    data: Option<Blob<'a>>,
}

/// Values that a test encodes in both formats.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    data: Vec<u8>,
    limit: i64,
    flag: bool,
    millis: u64,
    tags: BTreeMap<String, String>,
    records: Vec<Vec<u8>>,
    /// Whether CBOR is written with indefinite lengths, as the Java SDKs write it.
    indefinite: bool,
}

fn samples() -> impl Strategy<Value = Sample> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    (
        any::<String>(),
        bytes(),
        any::<i64>(),
        any::<bool>(),
        0..4_000_000_000_000u64,
        prop::collection::btree_map(any::<String>(), any::<String>(), 0..5),
        prop::collection::vec(bytes(), 0..6),
        any::<bool>(),
    )
        .prop_map(|(name, data, limit, flag, millis, tags, records, indefinite)| Sample {
            name,
            data,
            limit,
            flag,
            millis,
            tags,
            records,
            indefinite,
        })
}

impl Sample {
    fn json(&self) -> Vec<u8> {
        let records = self.records.iter().map(|r| serde_json::json!({"Data": base64(r)}));
        let body = serde_json::json!({
            "Name": self.name,
            "Unknown": {"a": [1, null, {"b": "c"}]},
            "Data": base64(&self.data),
            "Limit": self.limit,
            "Flag": self.flag,
            "At": self.millis as f64 / 1000.0,
            "Tags": self.tags,
            "Records": records.collect::<Vec<_>>(),
        });
        serde_json::to_vec(&body).unwrap()
    }

    fn cbor(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut e = minicbor::Encoder::new(&mut out);
        self.open(&mut e, true, 8);
        e.str("Name").unwrap();
        if self.indefinite {
            let (head, tail) =
                self.name.split_at(self.name.chars().next().map_or(0, char::len_utf8));
            e.begin_str().unwrap().str(head).unwrap().str(tail).unwrap().end().unwrap();
        } else {
            e.str(&self.name).unwrap();
        }
        e.str("Unknown").unwrap().begin_array().unwrap().u8(1).unwrap().null().unwrap();
        e.map(1).unwrap().str("b").unwrap().begin_bytes().unwrap().bytes(b"c").unwrap();
        e.end().unwrap().end().unwrap();
        e.str("Data").unwrap();
        if self.indefinite {
            let (head, tail) = self.data.split_at(self.data.len() / 2);
            e.begin_bytes().unwrap().bytes(head).unwrap().bytes(tail).unwrap().end().unwrap();
        } else {
            e.bytes(&self.data).unwrap();
        }
        e.str("Limit").unwrap().i64(self.limit).unwrap();
        e.str("Flag").unwrap().bool(self.flag).unwrap();
        e.str("At").unwrap().tag(minicbor::data::Tag::new(1)).unwrap().u64(self.millis).unwrap();
        e.str("Tags").unwrap();
        self.open(&mut e, true, self.tags.len());
        for (key, value) in &self.tags {
            e.str(key).unwrap().str(value).unwrap();
        }
        self.close(&mut e);
        e.str("Records").unwrap();
        self.open(&mut e, false, self.records.len());
        for record in &self.records {
            self.open(&mut e, true, 1);
            e.str("Data").unwrap().bytes(record).unwrap();
            self.close(&mut e);
        }
        self.close(&mut e);
        self.close(&mut e);
        out
    }

    fn open(&self, e: &mut minicbor::Encoder<&mut Vec<u8>>, map: bool, length: usize) {
        match (self.indefinite, map) {
            (true, true) => e.begin_map().unwrap(),
            (true, false) => e.begin_array().unwrap(),
            (false, true) => e.map(length as u64).unwrap(),
            (false, false) => e.array(length as u64).unwrap(),
        };
    }

    fn close(&self, e: &mut minicbor::Encoder<&mut Vec<u8>>) {
        if self.indefinite {
            e.end().unwrap();
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}

fn json(body: &str) -> Result<Everything<'_>, DecodeError> {
    decode(Format::Json, body.as_bytes())
}

proptest! {
    #[test]
    fn json_and_cbor_decode_to_the_same_request(sample in samples()) {
        let (json, cbor) = (sample.json(), sample.cbor());
        let from_json: Everything<'_> = decode(Format::Json, &json).unwrap();
        let from_cbor: Everything<'_> = decode(Format::Cbor, &cbor).unwrap();
        prop_assert_eq!(&from_json, &from_cbor);
        prop_assert_eq!(&*from_json.name.unwrap(), sample.name.as_str());
        prop_assert_eq!(from_json.limit, Some(Integer(sample.limit)));
        prop_assert_eq!(from_json.at, Some(Moment(Timestamp::from_millis(sample.millis))));
        let data = from_json.data.unwrap();
        prop_assert_eq!(data.len(), sample.data.len());
        let mut bytes = Vec::new();
        data.append_to(&mut bytes);
        prop_assert_eq!(&bytes[..], &sample.data[..]);
        prop_assert_eq!(from_json.records.unwrap().count(), sample.records.len());
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Everything<'_>>(Format::Json, &bytes);
        let _ = decode::<Everything<'_>>(Format::Cbor, &bytes);
    }

    #[test]
    fn damaged_requests_are_refused_without_a_panic(
        sample in samples(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        for (format, mut body) in [(Format::Json, sample.json()), (Format::Cbor, sample.cbor())] {
            let cut = &body[..cut.index(body.len())];
            prop_assert!(decode::<Everything<'_>>(format, cut).is_err());
            let at = at.index(body.len());
            body[at] = with;
            let _ = decode::<Everything<'_>>(format, &body);
        }
    }

    #[test]
    fn a_written_response_can_be_read_again(text in any::<String>(), number: u64, flag: bool, bytes: Vec<u8>) {
        let written = |format| {
            let mut writer = Writer::new(format, 0);
            writer.structure(|w| {
                w.member("Text").text(&text);
                w.member("Numbers").list(|w| {
                    w.number(number);
                    w.number(7);
                });
                w.member("Flag").flag(flag);
                w.member("Bytes").blob(&bytes);
                w.member("Plain").plain(number);
            });
            writer.finish()
        };
        let read: serde_json::Value = serde_json::from_slice(&written(Format::Json)).unwrap();
        prop_assert_eq!(&read["Text"], &serde_json::json!(text));
        prop_assert_eq!(&read["Numbers"], &serde_json::json!([number, 7]));
        prop_assert_eq!(&read["Flag"], &serde_json::json!(flag));
        prop_assert_eq!(&read["Bytes"], &serde_json::json!(base64(&bytes)));
        let cbor = written(Format::Cbor);
        let mut decoder = minicbor::Decoder::new(&cbor);
        prop_assert_eq!(decoder.map().unwrap(), None);
        prop_assert_eq!(decoder.str().unwrap(), "Text");
        prop_assert_eq!(decoder.str().unwrap(), text.as_str());
        prop_assert_eq!(decoder.str().unwrap(), "Numbers");
        prop_assert_eq!(decoder.array_iter::<u64>().unwrap().collect::<Result<Vec<_>, _>>().unwrap(), [number, 7]);
        prop_assert_eq!(decoder.str().unwrap(), "Flag");
        prop_assert_eq!(decoder.bool().unwrap(), flag);
        prop_assert_eq!(decoder.str().unwrap(), "Bytes");
        prop_assert_eq!(decoder.bytes().unwrap(), &bytes[..]);
        prop_assert_eq!(decoder.str().unwrap(), "Plain");
        prop_assert_eq!(decoder.str().unwrap(), number.to_string());
        prop_assert_eq!(decoder.datatype().unwrap(), minicbor::data::Type::Break);
    }
}

#[test]
fn timestamps_are_seconds_in_json_and_tagged_milliseconds_in_cbor() {
    let write = |format| {
        let mut writer = Writer::new(format, 0);
        writer.timestamp(Timestamp::from_millis(1_700_000_000_050));
        writer.finish()
    };
    assert_eq!(write(Format::Json), b"1700000000.050");
    // Tag 1, then an unsigned number. The Java SDK cannot read a float here.
    assert_eq!(write(Format::Cbor), b"\xc1\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x32");
}

#[test]
fn names_that_are_data_are_escaped_and_reals_keep_their_fraction() {
    let write = |format| {
        let mut writer = Writer::new(format, 0);
        writer.structure(|w| {
            w.entry("a\"b").real(0.5);
            w.entry("c").real(3.0);
        });
        writer.finish()
    };
    assert_eq!(write(Format::Json), br#"{"a\"b":0.5,"c":3.0}"#);
    assert_eq!(
        write(Format::Cbor),
        b"\xbf\x63a\"b\xfb\x3f\xe0\0\0\0\0\0\0\x61c\xfb\x40\x08\0\0\0\0\0\0\xff"
    );
}

#[test]
fn timestamps_are_read_leniently() {
    let at = |text: &str| {
        let body = format!("{{\"At\":{text}}}");
        json(&body).map(|request| request.at.map(|moment| moment.0.as_millis()))
    };
    assert_eq!(at("1700000000"), Ok(Some(1_700_000_000_000)));
    assert_eq!(at("1700000000.123"), Ok(Some(1_700_000_000_123)));
    assert_eq!(at("1.7e9"), Ok(Some(1_700_000_000_000)));
    assert_eq!(at("1700000000123"), Ok(Some(1_700_000_000_123_000)), "never milliseconds");
    assert_eq!(at("\"2023-11-14T22:13:20Z\""), Ok(Some(1_700_000_000_000)));
    assert_eq!(at("-5"), Ok(Some(0)));
    assert!(matches!(at("true"), Err(DecodeError::Type(_))));
    assert!(matches!(at("\"yesterday\""), Err(DecodeError::Type(_))));
}

#[test]
fn null_is_absent() {
    assert_eq!(json("{\"Name\":null,\"Records\":null}"), json("{}"));
    let nulls: Everything<'_> = decode(Format::Cbor, b"\xa1\x64Name\xf6").unwrap();
    assert_eq!(Ok(nulls), json("{}"));
}

#[test]
fn wrong_types_have_the_texts_of_aws() {
    let fault = |body: &str| match json(body) {
        Err(DecodeError::Type(message)) => message,
        other => panic!("{body}: {other:?}"),
    };
    let cases = [
        (
            "{\"Name\":1}",
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
        ),
        ("{\"Name\":true}", "class java.lang.Boolean can not be converted to an String"),
        ("{\"Name\":[]}", "Start of list found where not expected"),
        ("{\"Name\":{}}", "Start of structure or map found where not expected."),
        ("{\"Limit\":\"1\"}", "class java.lang.String can not be converted to an Integer"),
        (
            "{\"Flag\":1}",
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an Boolean",
        ),
        ("{\"Records\":\"x\"}", "Expected list or null"),
        ("{\"Records\":[[\"eA==\"]]}", "Start of list found where not expected"),
        ("{\"Tags\":7}", "Expected map or null"),
        ("[]", "Start of list found where not expected"),
        ("7", "Expected null"),
        (
            "{\"Data\":\"abc\"}",
            "'abc' can not be converted to a Blob: Base64 encoded length is expected a multiple \
             of 4 bytes but found: 3",
        ),
        (
            "{\"Data\":\"ab*=\"}",
            "'ab*=' can not be converted to a Blob: Invalid Base64 character: '*'",
        ),
        (
            "{\"Data\":\"ab==\"}",
            "'ab==' can not be converted to a Blob: Invalid last non-pad Base64 character detected",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(fault(body), message, "{body}");
    }
}

#[test]
fn a_malformed_rest_is_reported_before_a_wrong_type() {
    assert!(matches!(json("{\"Name\":1,"), Err(DecodeError::Malformed(_))));
    assert!(matches!(json("{\"Name\":1} x"), Err(DecodeError::Malformed(_))));
    let body = b"\xa2\x64Name\x01\x65Limit";
    assert!(matches!(decode::<Everything<'_>>(Format::Cbor, body), Err(DecodeError::Malformed(_))));
}

#[test]
fn base64_with_escaped_slashes_is_read() {
    let request = json(r#"{"Data":"\/\/8="}"#).unwrap();
    assert_eq!(request.data, Some(Blob::Raw(Cow::Borrowed(&[0xff, 0xff]))));
}

#[test]
fn a_long_list_is_counted_but_not_kept_and_an_endless_list_is_refused() {
    let body = |count: usize| format!("{{\"Records\":[{}{{}}]}}", "{},".repeat(count - 1));
    let most = body(10_000);
    let records = json(&most).unwrap().records.unwrap();
    assert_eq!((records.count(), records.members().len()), (10_000, 500));
    assert_eq!(json(&body(10_001)).unwrap_err(), DecodeError::TooMany(TOO_MANY));
    // The rest of the body is not read.
    assert_eq!(
        json(&body(10_001).replace("]}", ",no")).unwrap_err(),
        DecodeError::TooMany(TOO_MANY)
    );
    let cbor = [&b"\xa1\x67Records\x9f"[..], &[0xa0; 10_001]].concat();
    assert_eq!(
        decode::<Everything<'_>>(Format::Cbor, &cbor).unwrap_err(),
        DecodeError::TooMany(TOO_MANY)
    );
}

#[test]
fn deep_nesting_is_refused_without_a_panic() {
    let deep = format!("{{\"Unknown\":{}", "[".repeat(1_000_000));
    assert!(matches!(json(&deep), Err(DecodeError::Malformed(_))));
    let mut cbor = b"\xa1\x67Unknown".to_vec();
    cbor.extend(std::iter::repeat_n(0x81, 1_000_000));
    assert!(decode::<Everything<'_>>(Format::Cbor, &cbor).is_err());
    cbor.truncate(9);
    cbor.extend(std::iter::repeat_n(0xc1, 1_000_000));
    assert!(decode::<Everything<'_>>(Format::Cbor, &cbor).is_err());
}

/// Whether the decoder accepts a value of an unknown member.
fn is_skipped(value: &[u8]) -> bool {
    check_well_formed(Format::Cbor, value).is_ok()
}

#[test]
fn cbor_of_an_unknown_member_is_checked_as_strictly_as_known_members() {
    let good: [&[u8]; 14] = [
        b"\x00",
        b"\xf6",
        b"\xfb\0\0\0\0\0\0\0\0",
        b"\x80",
        b"\xa0",
        b"\x9f\xff",
        b"\xbf\xff",
        b"\x82\x01\x82\x02\x03",
        b"\xa1\x61a\x9f\x01\x82\x02\x03\xff",
        b"\xbf\x61a\xa0\xff",
        b"\xc1\x00",
        b"\x82\xc1\x00\xd8\x20\x61a",
        b"\x5f\x41a\x41b\xff",
        b"\x9f\x9f\xff\x80\xff",
    ];
    for value in good {
        assert!(is_skipped(value), "{value:x?}");
    }
    let bad: [&[u8]; 12] = [
        b"",
        b"\xff",
        b"\x82\x01",
        b"\x82\x01\xff",
        b"\x81\xff",
        b"\xa1\x61a\xff",
        b"\x9f\x01",
        b"\xc1",
        b"\x9f\xc1\xff",
        b"\x00\x00",
        b"\x5f\x61a\xff",
        b"\xfc",
    ];
    for value in bad {
        assert!(!is_skipped(value), "{value:x?}");
    }
}

#[test]
fn cbor_is_nested_as_deep_as_json_and_no_deeper() {
    for (open, close) in [(&b"\x81"[..], &b""[..]), (b"\x9f", b"\xff"), (b"\xa1\x61a", b"")] {
        let nested =
            |depth: usize| [&open.repeat(depth)[..], b"\x00", &close.repeat(depth)].concat();
        assert!(is_skipped(&nested(128)), "{open:x?}");
        assert!(!is_skipped(&nested(129)), "{open:x?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_skipped_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        // The decoder's own `skip` accepts some malformed values. It never refuses a well-formed value.
        let mut decoder = minicbor::Decoder::new(&bytes);
        let skipped = decoder.skip().is_ok() && decoder.position() == bytes.len();
        prop_assert!(skipped || !is_skipped(&bytes));
    }
}

#[test]
fn an_absent_required_member_decodes_as_the_default_and_is_reported() {
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request<'a> {
        #[serde(borrow, default)]
        name: Required<Text<'a>>,
        #[serde(default)]
        count: Required<Integer>,
    }
    let read = |body: &'static str| decode::<Request<'_>>(Format::Json, body.as_bytes()).unwrap();
    let given = read(r#"{"Name":"a","Count":7}"#);
    assert_eq!((&**given.name, given.count.0), ("a", 7));
    assert!(given.name.given().is_some());
    for body in ["{}", r#"{"Name":null,"Count":null}"#] {
        let absent = read(body);
        assert_eq!((&**absent.name, absent.count.given()), ("", None));
    }
}

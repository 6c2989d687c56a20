use serde::Deserialize;

use super::body::is_type;
use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    password: String,
    count: Option<u32>,
    #[serde(default)]
    deep: Vec<Inner>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    id: u8,
}

fn refusal(body: &[u8]) -> String {
    let problem = parse::<Login>(body).unwrap_err();
    assert_eq!(problem.code(), Code::MalformedRequest);
    format!("{problem:#?}")
}

#[test]
fn a_valid_body_is_parsed() {
    let login: Login = parse(br#"{"email":"a","password":"\ud83d\ude00","count":3}"#).unwrap();
    assert_eq!((login.password.as_str(), login.count), ("\u{1f600}", Some(3)));
}

#[test]
fn ambiguous_json_is_rejected() {
    let deep = [b"{\"email\":".as_slice(), &b"[".repeat(100_000)].concat();
    for (body, why) in [
        (&br#"{"email":"a","email":"b"}"#[..], "twice at line 1 column 20"),
        (br#"{"deep":[{"id":1,"id":2}]}"#, "twice"),
        (br#"{"email":"a\u0000"}"#, "NUL"),
        (br#"{"em\u0000ail":"a"}"#, "NUL"),
        (br#"{"email":"\ud800"}"#, "line 1"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"{\"email\":\"\xff\"}", "UTF-8"),
        (br#"{"email":"a"} {}"#, "trailing"),
        (b"[]", "object"),
        (b"", "line 1"),
        (&deep, "nested too deeply"),
    ] {
        let shown = refusal(body);
        assert!(shown.contains(why), "{why}: {shown}");
    }
}

#[test]
fn a_member_that_does_not_fit_is_named_and_its_value_is_not() {
    for (body, pointer, detail) in [
        (&br#"{"email":"a"}"#[..], "/password", "required"),
        (br#"{"email":7,"password":"hunter2"}"#, "/email", "Expected a string"),
        (
            br#"{"email":"a","password":"x","count":"hunter2, expected b"}"#,
            "/count",
            "Expected u32",
        ),
        (br#"{"email":"a","password":"hunter2","is/admin":true}"#, "/is~1admin", "Unknown field"),
        (br#"{"email":"a","password":"hunter2","deep":[{"id":1},{}]}"#, "/deep/1/id", "required"),
        (br#"{"email":"a","password":"hunter2","deep":[{"id":300}]}"#, "/deep/0/id", "Expected u8"),
    ] {
        let shown = refusal(body);
        assert!(shown.contains(&format!("\"{pointer}\"")), "{pointer}: {shown}");
        assert!(shown.contains(detail), "{detail}: {shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn only_plain_json_is_json() {
    for good in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
    ] {
        assert!(is_type(good, "application/json"), "{good}");
    }
    for bad in [
        "text/plain",
        "application/json; charset=latin1",
        "application/json; x=y",
        "application/jsonp",
        "",
    ] {
        assert!(!is_type(bad, "application/json"), "{bad}");
    }
}

//! The lines of the log, as text and as JSON.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::binary::{Doorward, unlimited};
use crate::support::client::PASSWORD;
use crate::support::program::free_port;
use crate::support::until;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The log lines of three failed logins in this format: in a trace, in a malformed one, in none.
/// Each logs two lines, an event and the response.
async fn lines(format: &str) -> Vec<String> {
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(unlimited(home.path()).env("DOORWARD_LOG__FORMAT", format));
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    let log_in = || service.call("POST", "/login").json(&body);
    let malformed = TRACE.to_uppercase();
    for call in [
        log_in().header("traceparent", &format!("00-{TRACE}-{PARENT}-01")),
        log_in().header("traceparent", &format!("00-{malformed}-{PARENT}-01")),
        log_in(),
    ] {
        call.send().await.assert_problem(401, "invalid_credentials");
    }
    let (_, _, log) = service.stop();
    let of_requests = |line: &&str| line.contains("request_id");
    let lines: Vec<_> = log.lines().filter(of_requests).map(str::to_owned).collect();
    assert_eq!(lines.len(), 6, "{log}");
    lines
}

#[tokio::test]
async fn each_line_of_a_request_has_its_trace() {
    let lines = lines("text").await;
    for line in &lines[..2] {
        assert!(line.contains(&format!(" trace_id={TRACE} parent_id={PARENT}}}: ")), "{line}");
    }
    for line in &lines[2..] {
        assert!(!line.contains("trace_id") && !line.contains("parent_id"), "{line}");
    }
}

#[tokio::test]
async fn each_json_line_is_an_object_with_the_request_and_its_trace() {
    let lines = lines("json").await;
    let lines: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    for (n, pair) in lines.chunks(2).enumerate() {
        let [event, answer] = pair else { unreachable!("six lines") };
        assert_eq!(event["event"], "login_failed");
        let told = [&answer["message"], &answer["route"], &answer["method"], &answer["status"]];
        assert_eq!(
            told,
            [&json!("request completed"), &json!("/login"), &json!("POST"), &json!(401)]
        );
        for line in pair {
            let ids = [&line["span"]["trace_id"], &line["span"]["parent_id"]];
            let expected =
                if n == 0 { [json!(TRACE), json!(PARENT)] } else { [Value::Null, Value::Null] };
            assert_eq!(ids, [&expected[0], &expected[1]], "{line}");
            assert_eq!(line["span"]["request_id"], answer["span"]["request_id"]);
            assert_eq!(line.to_string().matches("request_id").count(), 1, "{line}");
        }
        assert!(answer["duration_us"].is_u64(), "{answer}");
    }
}

#[tokio::test]
async fn an_unread_log_loses_counted_lines_and_no_responses() {
    const COUNT: &str = "doorward_log_lines_dropped_total ";
    let home = tempfile::tempdir().unwrap();
    let [own, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let mut command = unlimited(home.path());
    command.env("DOORWARD_LISTEN", &own).env("DOORWARD_METRICS__LISTEN", &metrics);
    command.env("DOORWARD_METRICS__ENABLED", "true").env("DOORWARD_LOG__LEVEL", "trace");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |url: String| http.get(url).send().await?.text().await;
    until(async || get(format!("http://{own}/readyz")).await.is_ok()).await;
    until(async || {
        for _ in 0..50 {
            get(format!("http://{own}/healthz")).await.unwrap();
        }
        let page = get(format!("http://{metrics}/metrics")).await.unwrap();
        let lost = page.lines().find_map(|line| line.strip_prefix(COUNT)).unwrap();
        lost.parse::<f64>().unwrap() > 0.0
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
}

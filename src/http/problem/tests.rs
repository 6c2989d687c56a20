use proptest::prelude::*;

use super::*;

#[test]
fn a_bare_status_keeps_its_status() {
    for code in Code::ALL {
        if !matches!(code, Code::EmailTaken | Code::EmailOff) {
            assert_eq!(Code::for_status(code.status()).status(), code.status());
        }
    }
    assert_eq!(Code::for_status(StatusCode::IM_A_TEAPOT), Code::MalformedRequest);
    assert_eq!(Code::for_status(StatusCode::BAD_GATEWAY), Code::InternalError);
}

#[test]
fn retry_after_is_rounded_up_to_at_least_one_second() {
    assert_eq!(whole_seconds(Duration::ZERO), 1);
    assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
}

proptest! {
    #[test]
    fn a_document_is_faithful_and_its_headers_are_valid(
        code in prop::sample::select(Code::ALL),
        detail in any::<String>(),
        pointer in any::<String>(),
        id in prop::option::of(any::<String>()),
        wait in any::<Duration>(),
        form in prop::sample::select(vec![ErrorFormat::Problem, ErrorFormat::ProblemWithOAuth, ErrorFormat::OAuth]),
    ) {
        let wait = wait.min(Duration::from_secs(u64::from(u32::MAX)));
        let problem = Problem::new(code)
            .detail(detail.clone())
            .field(pointer.clone(), detail.clone())
            .retry_after(wait);
        for (_, value) in problem.headers(form) {
            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", value);
        }
        let said: serde_json::Value =
            serde_json::from_str(&problem.document(id.as_deref(), form)).unwrap();
        prop_assert_eq!(&said["detail"], &detail);
        prop_assert_eq!(&said["errors"][0]["pointer"], &pointer);
        prop_assert_eq!(&said["code"], code.as_str());
        prop_assert_eq!(said["request_id"].as_str(), id.as_deref());
        prop_assert_eq!(&said["status"], code.status().as_u16());
        prop_assert_eq!(said["transient"] == true, code.is_transient());
        let said: serde_json::Value = serde_json::from_str(&problem.oauth_document()).unwrap();
        let text = said["error_description"].as_str().unwrap();
        prop_assert_eq!(text.chars().count(), detail.chars().count());
        prop_assert!(text.chars().all(|c| matches!(c, ' '..='~') && !"\"\\".contains(c)));
        prop_assert!(problem.response(id.as_deref(), form).status().as_u16() >= 400);
    }
}

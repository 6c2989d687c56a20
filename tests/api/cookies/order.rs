//! Answers that arrive in another order than they were given in.

use futures_util::future::join_all;

use crate::support::Answer;
use crate::support::jar::{Jar, log_in};

use super::{assert_empties, generation, start};

#[tokio::test]
async fn a_page_reloaded_ten_times_in_a_second_stays_logged_in() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut jar = Jar::log_in(&app, &user.email).await;
    for round in 1..=3 {
        app.advance(31);
        let mut answers = join_all((0..10).map(|_| jar.refresh(&app))).await;
        // The last one first; and one never arrives.
        answers.reverse();
        for answer in answers.iter().skip(1) {
            assert_eq!(answer.clone().assert_status(200).body["generation"], round);
            jar.keep(answer);
        }
        assert_eq!(jar.refresh_names().len(), 1);
        jar.me(&app).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_late_response_overwrites_no_newer_cookie() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut jar = Jar::log_in(&app, &user.email).await;
    let late = jar.refresh(&app).await.assert_status(200);
    for _ in 0..4 {
        jar.keep(&jar.refresh(&app).await.assert_status(200));
        app.advance(31);
    }
    let newest = jar.refresh_names()[0].to_owned();
    jar.keep(&late);
    assert_eq!(jar.refresh_names().len(), 2, "{jar:?}");
    assert!(jar.0.contains_key(&newest));
    jar.me(&app).await.assert_status(200);
    let next = jar.refresh(&app).await.assert_status(200);
    assert_eq!(next.body["generation"], 5);
    jar.keep(&next);
    assert_eq!(jar.refresh_names().len(), 1, "the late response's leftover is cleared");
}

/// The model's client that never overwrites a newer token with an older one, with late responses;
/// here it is a browser that stores every response.
#[tokio::test]
async fn no_order_of_answers_ends_a_session() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % bound
    };
    let mut one_name_would_end = false;
    for _ in 0..12 {
        let mut jar = Jar::log_in(&app, &user.email).await;
        let (mut under_way, mut current) = (Vec::<Answer>::new(), 0);
        // The token that the browser would hold if all refresh tokens had the same cookie name.
        let mut last = 0;
        for _ in 0..60 {
            let newest = jar.refresh_names().iter().map(|name| generation(name)).max().unwrap();
            match below(4) {
                0 | 1 => {
                    one_name_would_end |= last + 1 < current;
                    let answer = jar.refresh(&app).await.assert_status(200);
                    current = answer.body["generation"].as_u64().unwrap();
                    under_way.push(answer);
                }
                2 if !under_way.is_empty() => {
                    let answer = under_way.swap_remove(below(under_way.len()));
                    // Some are lost.
                    if below(5) > 0 {
                        jar.keep(&answer);
                        last = answer.body["generation"].as_u64().unwrap();
                    }
                }
                // The window closes for a browser that has the current token.
                _ if newest == current => app.advance(31),
                _ => {}
            }
        }
        let newest = jar.refresh_names().iter().map(|name| generation(name)).max().unwrap();
        assert!(newest + 1 >= current, "{newest} is two behind {current}");
        jar.keep(&jar.refresh(&app).await.assert_status(200));
        assert_eq!(jar.refresh_names().len(), 1);
    }
    assert!(one_name_would_end, "no order was bad enough to prove anything");
}

#[tokio::test]
async fn a_late_response_of_an_earlier_session_does_not_affect_the_next_one() {
    let app = start().await;
    let (before, after) = (app.signed_up().await, app.signed_up().await);
    for ending in ["/refresh", "/logout"] {
        let mut jar = Jar::log_in(&app, &before.email).await;
        let late = jar.own(app.post(ending)).send().await;
        app.advance(1);
        jar.keep(&jar.own(log_in(&app, &after.email)).send().await.assert_status(200));
        let present = jar.refresh_names()[0].to_owned();
        jar.keep(&late);
        assert!(jar.0.contains_key(&present), "{ending}");
        jar.keep(&jar.refresh(&app).await.assert_status(200));
        assert_eq!(jar.refresh_names().len(), 1);
        assert_eq!(jar.me(&app).await.assert_status(200).body["email"], after.email);
    }
    // And a logout then ends every session that the browser holds, also of two concurrent logins,
    // of which neither has replaced the other.
    let mut jar = Jar::log_in(&app, &before.email).await;
    let late = jar.refresh(&app).await;
    app.advance(1);
    let other = log_in(&app, &after.email).header("sec-fetch-site", "same-origin");
    jar.keep(&other.send().await);
    jar.keep(&late);
    let both = jar.clone();
    let refused = jar.own(app.post("/logout?scope=all")).send().await;
    refused.assert_problem(400, "multiple_credentials");
    assert_empties(&jar.own(app.post("/logout")).send().await.assert_status(204), &jar);
    both.me(&app).await.assert_problem(401, "token_revoked");
    both.refresh(&app).await.assert_ended("logout");
}

//! Questions to a real Redis, one by one: what is granted, taken back, void, late or counted.

use super::*;
use crate::model::lease::Debt;

const WANTING: LeaseRequest = LeaseRequest { limit: 1000, wanted: 10, is_spooled: true, ended: None, debt: None };

/// The question of this number, of the gateway `a`.
async fn ask(hours: &RedisHours, number: u64, request: LeaseRequest) -> LeaseReply {
    hours.lease(&KEY.into(), "a", LeaseId::from_number(number), request).await.unwrap()
}

async fn decided(hours: &RedisHours, number: u64, request: LeaseRequest) -> LeaseAnswer {
    match ask(hours, number, request).await {
        LeaseReply::Decided(answer) => answer,
        LeaseReply::Late(last) => panic!("{last:?} was asked later"),
    }
}

#[tokio::test]
async fn a_lease_that_nobody_could_settle_counts_as_spent_unless_its_end_is_told() {
    let place = Place::on(&SHARED).await;
    let hours = RedisHours::new(place.redis().await);
    let unspooled = LeaseRequest { is_spooled: false, ..WANTING };
    decided(&hours, 1, unspooled).await;
    let told = decided(&hours, 2, unspooled).await;
    assert_eq!(told.used, 20, "the first may have been spent");
    let ended = Some(LeaseReport { id: told.lease.unwrap().id, spent: 1, finished: true });
    assert_eq!(decided(&hours, 3, LeaseRequest { ended, ..WANTING }).await.used, 10 + 1 + 10);
    assert_eq!(decided(&hours, 4, WANTING).await.used, 10 + 1 + 10, "of this one nothing was");
}

#[tokio::test]
async fn a_question_that_a_later_one_has_passed_is_void() {
    let place = Place::on(&SHARED).await;
    let (late, later) = (RedisHours::new(place.redis().await), RedisHours::new(place.redis().await));
    let granted = decided(&later, 8, WANTING).await.lease.unwrap();
    for number in [7, 8] {
        assert_eq!(ask(&late, number, WANTING).await, LeaseReply::Late(granted.id));
    }
    assert_eq!(later.leases_of("a").await.unwrap(), [(KEY.into(), granted)], "the lease stands");
    let asked_again = decided(&late, 9, WANTING).await;
    assert_eq!((asked_again.used, asked_again.lease.unwrap().permits), (10, 10));
}

#[tokio::test]
async fn a_question_that_wants_nothing_takes_back_what_no_answer_told_of_and_makes_nobody_give_way() {
    let place = Place::on(&SHARED).await;
    let (hours, others) = (RedisHours::new(place.redis().await), RedisHours::new(place.redis().await));
    let other = LeaseId::from_number(1);
    let held = others.lease(&KEY.into(), "b", other, LeaseRequest { limit: 1, ..WANTING }).await.unwrap();
    assert!(matches!(held, LeaseReply::Decided(LeaseAnswer { lease: Some(_), .. })));
    decided(&hours, 1, WANTING).await;
    let answer = decided(&hours, 2, LeaseRequest { wanted: 0, limit: 1, ..WANTING }).await;
    assert_eq!((answer.used, answer.lease), (1, None));
    let still = Report { lease: Some(LeaseReport { id: other, spent: 0, finished: false }), debt: None };
    assert_eq!(others.settle("b", &[(KEY.into(), still)]).await.unwrap(), [false]);
}

#[tokio::test]
async fn a_void_lease_is_wanted_back() {
    let place = Place::on(&SHARED).await;
    let hours = RedisHours::new(place.redis().await);
    let key_id = KeyId::from(KEY);
    let lease = decided(&hours, 1, WANTING).await.lease.unwrap();
    let news = |spent| Report { lease: Some(LeaseReport { id: lease.id, spent, finished: false }), debt: None };
    assert_eq!(hours.settle("a", &[(key_id.clone(), news(1))]).await.unwrap(), [false]);
    hours.reset_hour(&key_id).await.unwrap();
    assert_eq!(hours.settle("a", &[(key_id.clone(), news(2))]).await.unwrap(), [true]);
    assert_eq!(hours.hour_usage(&key_id).await.unwrap().1, 0);
}

#[tokio::test]
async fn a_debt_is_counted_in_its_own_hour_alone() {
    let place = Place::on(&SHARED).await;
    let hours = RedisHours::new(place.redis().await);
    let key_id = KeyId::from(KEY);
    let (now, _) = hours.hour_usage(&key_id).await.unwrap();
    let this_hour = HourWindow::containing(now);
    for (hour, requests) in [(this_hour, 7), (HourWindow::containing(now.minus(Duration::from_hours(1))), 100)] {
        let debt = Some(Debt { hour, requests });
        hours.settle("a", &[(key_id.clone(), Report { lease: None, debt })]).await.unwrap();
    }
    assert_eq!(hours.hour_usage(&key_id).await.unwrap().1, 7);
}

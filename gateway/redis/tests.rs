//! A real Redis that is frozen, killed, away at the start, or takes no writes.

use super::testing::Server;
use super::*;

async fn connected(server: &Server) -> (Arc<Redis>, Tasks) {
    let tasks = Tasks::new();
    let redis = Redis::connect(&config(server), &Arc::default(), &tasks).await;
    (redis, tasks)
}

fn config(server: &Server) -> config::Redis {
    config::Redis::at(&server.url(), "test:")
}

async fn ping(redis: &Redis) -> Result<(), RedisError> {
    redis.ask(redis.client().ping::<()>(None)).await
}

async fn until(mut fact: impl FnMut() -> bool) {
    let bound = clock::monotonic() + Duration::from_secs(10);
    while !fact() {
        assert!(clock::monotonic() < bound, "it did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn what_failed_is_told_in_words() {
    for (details, says) in [
        ("Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }", "Connection refused"),
        ("Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }", "InvalidCertificate(UnknownIssuer)"),
        ("WRONGPASS invalid username-password pair", "WRONGPASS invalid username-password pair"),
    ] {
        assert_eq!(words(details), says);
    }
}

#[tokio::test]
async fn a_frozen_redis_costs_one_wait_and_is_asked_again_when_it_answers() {
    let server = Server::start();
    let (redis, _tasks) = connected(&server).await;
    ping(&redis).await.unwrap();
    server.freeze();
    let frozen_at = clock::monotonic();
    assert!(matches!(ping(&redis).await, Err(RedisError::Timeout)));
    assert!(clock::monotonic() - frozen_at < 3 * PATIENCE);
    let asked_again_at = clock::monotonic();
    for _ in 0..1000 {
        assert!(matches!(ping(&redis).await, Err(RedisError::Away(_))));
    }
    assert!(clock::monotonic() - asked_again_at < PATIENCE, "nobody waits any more");
    assert_eq!(redis.gauge().get(), 0);
    server.thaw();
    until(|| redis.is_up()).await;
    ping(&redis).await.unwrap();
    assert_eq!(redis.gauge().get(), 1);
}

#[tokio::test]
async fn a_redis_that_ended_is_noticed_without_asking_and_found_again_with_its_memory_in_doubt() {
    let server = Server::start();
    let (redis, _tasks) = connected(&server).await;
    let memory = redis.memory();
    server.kill();
    until(|| !redis.is_up()).await;
    server.restart();
    until(|| redis.is_up()).await;
    ping(&redis).await.unwrap();
    assert_ne!(redis.memory(), memory);
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_found_later() {
    let server = Server::start();
    server.kill();
    let (redis, tasks) = connected(&server).await;
    assert_eq!(ping(&redis).await.unwrap_err().to_string(), "Redis cannot be asked: Connection refused");
    server.restart();
    until(|| redis.is_up()).await;
    tasks.stop();
    assert_eq!(tasks.wait(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_away() {
    let server = Server::start();
    let (redis, _tasks) = connected(&server).await;
    server.cli(&["config", "set", "min-replicas-to-write", "1"]);
    until(|| !redis.is_up()).await;
    server.cli(&["config", "set", "min-replicas-to-write", "0"]);
    until(|| redis.is_up()).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_and_goes_on_being_tried() {
    let server = Server::start();
    server.cli(&["config", "set", "requirepass", "right"]);
    let (redis, _tasks) = connected(&server).await;
    let says = ping(&redis).await.unwrap_err().to_string();
    assert!(says.contains("asks for a password"), "{says}");
    server.cli(&["-a", "right", "config", "set", "requirepass", ""]);
    until(|| redis.is_up()).await;
}

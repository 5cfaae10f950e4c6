use super::*;
use crate::store::testing::postgres_server::{SHARED, Server};
use crate::store::testing::{config, hash};
use crate::store::{ChangeFeed, Store};

/// With a second for each question.
fn store(url: &str) -> Store {
    Store::open(&config(&format!("url = \"{url}\"\ntimeout = \"1s\"")).store)
}

async fn follow(store: &Store) -> ChangeFeed {
    let mut feed = ChangeFeed::new(store, "gateway");
    assert_eq!(feed.next().await.unwrap().changes, [Change::Anything]);
    feed
}

async fn failure(feed: &mut ChangeFeed) -> StoreError {
    loop {
        if let Err(error) = feed.next().await {
            return error;
        }
    }
}

async fn recovery(feed: &mut ChangeFeed) -> News {
    loop {
        if let Ok(news) = feed.next().await {
            return news;
        }
    }
}

#[tokio::test]
async fn contact_goes_on_without_changes() {
    let database = SHARED.database();
    let store = store(&database.url());
    store.migrate_up().await.unwrap();
    let mut feed = follow(&store).await;
    let first = feed.next().await.unwrap();
    let second = feed.next().await.unwrap();
    assert!(first.contact < second.contact && second.changes.is_empty());
}

/// LISTEN succeeds there too. After each attempt anything may have changed, so that a revocation is seen all the same.
#[tokio::test]
async fn where_nothing_is_heard_it_is_said_and_anything_may_have_changed_each_time() {
    let (database, elsewhere) = (SHARED.database(), SHARED.database());
    for database in [&database, &elsewhere] {
        store(&database.url()).migrate_up().await.unwrap();
    }
    let settings = format!("url = \"{}\"\nlisten_url = \"{}\"\ntimeout = \"300ms\"", database.url(), elsewhere.url());
    let mut feed = follow(&Store::open(&config(&settings).store)).await;
    for _ in 0..2 {
        let says = feed.next().await.unwrap_err().to_string();
        assert!(says.contains("not heard at") && says.contains(elsewhere.name()) && says.contains("PgBouncer"), "{says}");
        assert_eq!(feed.next().await.unwrap().changes, [Change::Anything]);
    }
}

#[tokio::test]
async fn the_first_change_is_heard_at_once_although_every_connection_is_busy() {
    let database = SHARED.database();
    let store = Store::open(&config(&format!("url = \"{}\"\npool_size = 1\ntimeout = \"20s\"", database.url())).store);
    store.migrate_up().await.unwrap();
    let mut feed = follow(&store).await;
    let Store::Postgres(busy) = &store else { panic!("{store:?}") };
    let never = busy.read(async |client| Ok(client.execute("SELECT pg_sleep(60)", &[]).await?));
    let heard = async {
        database.sql("TRUNCATE api_keys CASCADE");
        feed.next().await.unwrap().changes
    };
    tokio::select! {
        biased;
        slept = never => panic!("{slept:?}"),
        changes = heard => assert_eq!(changes, [Change::Anything]),
    }
}

#[tokio::test]
async fn words_of_a_newer_version_are_passed_over() {
    let database = SHARED.database();
    let store = store(&database.url());
    store.migrate_up().await.unwrap();
    let mut feed = follow(&store).await;
    let notices = ["shard 7", "key nothing", "sync x y", "sync 7", "", "all", &format!("key {}", hash("k").to_hex())];
    for notice in notices {
        database.sql(&format!("SELECT pg_notify('hokusai_gateway', '{notice}')"));
    }
    let mut changes = Vec::new();
    while changes.len() < 2 {
        changes.extend(feed.next().await.unwrap().changes);
    }
    assert_eq!(changes, [Change::Anything, Change::Secret(hash("k"))]);
}

#[tokio::test]
async fn a_table_emptied_at_one_stroke_may_have_changed_anything() {
    let database = SHARED.database();
    let store = store(&database.url());
    store.migrate_up().await.unwrap();
    let mut feed = follow(&store).await;
    database.sql("TRUNCATE api_keys CASCADE");
    assert_eq!(feed.next().await.unwrap().changes, [Change::Anything]);
}

/// Killed, it closes the connection; frozen, it only falls silent.
#[tokio::test]
async fn a_server_that_comes_back_is_followed_within_two_seconds_and_anything_may_have_changed() {
    let server = Server::start();
    let database = server.database();
    let store = store(&database.url());
    store.migrate_up().await.unwrap();
    let mut feed = follow(&store).await;
    for kills in [false, true] {
        if kills {
            server.kill();
        } else {
            server.freeze();
        }
        failure(&mut feed).await;
        assert!(feed.next().await.is_err());
        if kills {
            server.start_again();
        } else {
            server.thaw();
        }
        let back = clock::monotonic();
        assert_eq!(recovery(&mut feed).await.changes, [Change::Anything]);
        assert!(clock::monotonic().duration_since(back) < Duration::from_secs(2));
    }
}

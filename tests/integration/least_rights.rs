//! A gateway works with the rights that docs/postgresql.md grants it, and with no more.

use crate::support::postgres::{Database, SHARED};
use crate::support::{Gateway, Key, Request, Upstream, eventually};

const PAGE: &str = include_str!("../../docs/postgresql.md");

/// Roles are the server's: made once for this binary, by the one test that needs them.
fn database_of_an_owner() -> Database<'static> {
    let database = SHARED.database();
    database.sql(&format!(
        "CREATE ROLE hokusai_owner LOGIN; CREATE ROLE hokusai_gateway LOGIN; ALTER DATABASE {} OWNER TO hokusai_owner",
        database.name()
    ));
    database
}

fn as_role(role: &str, database: &Database<'_>, upstream: &Upstream) -> Gateway {
    let url = database.url().replace("postgres@", &format!("{role}@"));
    // Patient, since all is about rights here: on a busy machine a database may take its time.
    Gateway::stopped(upstream.address(), &format!("[store]\nurl = \"{url}\"\ntimeout = \"10s\""))
}

/// As they stand in the documentation below this line.
fn grants(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```sql\n-- {heading}\n")).expect("the page has the grants");
    rest.split_once("```").expect("the block ends").0
}

#[test]
fn a_gateway_serves_with_the_rights_that_are_documented_and_leaves_partitions_to_the_owner() {
    let (database, upstream) = (database_of_an_owner(), Upstream::ok());
    let owner = as_role("hokusai_owner", &database, &upstream);
    owner.cli_json(&["migrate", "up"]);
    database.sql(grants("What a gateway needs"));
    let mut gateway = as_role("hokusai_gateway", &database, &upstream);
    gateway.run();
    let key = owner.create_key(&["--rate-limit", "2"]);
    let status = || gateway.ask(&Request::get("/").key(&key)).status;
    assert_eq!([status(), status(), status()], [200, 200, 429]);
    eventually("usage is written", || database.sql("SELECT count(*) FROM api_key_usage_default") == "2");
    eventually("the use is noted", || database.sql("SELECT last_used_at IS NOT NULL FROM api_keys") == "t");
    let revoked = owner.cli_json(&["keys", "revoke", &key.id, "--wait"]);
    assert_eq!((revoked["confirmed_by"].as_array().map(Vec::len), status()), (Some(1), 401));
    let log = gateway.log();
    // A database that is slow on a busy machine says nothing about rights.
    let is_warning = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
    let warnings: Vec<&str> = log.lines().filter(is_warning).filter(|line| !line.contains("did not answer")).collect();
    assert!(matches!(warnings[..], [only] if only.contains("does not own")), "{warnings:#?}");
    owner.cli_json(&["cleanup"]);
    assert_eq!(database.sql("SELECT count(*) FROM api_key_usage_default"), "0", "the owner gives them their day");
    let minted = gateway.cli(&["keys", "create", "--user", "eve", "--name", "hers"]);
    let says = String::from_utf8_lossy(&minted.stderr).into_owned();
    assert!(!minted.status.success() && says.contains("`hokusai_gateway` has no permission"), "{says}");
    let awaiting = Key { secret: "hk_live_abc-from-earlier-tables".to_owned(), id: "awaiting".to_owned() };
    let hash = bcrypt::hash(&awaiting.secret, 4).expect("a cost that there is");
    let row = format!("key_id,key_hash,key_prefix\n{},{hash},hk_live_abc\n", awaiting.id);
    std::fs::write(owner.folder().join("keys.csv"), row).expect("the folder can be written to");
    owner.cli_json(&["keys", "import", "keys.csv", "--user", "ada"]);
    let first_use = || gateway.ask(&Request::get("/").key(&awaiting)).status;
    eventually("it is verified, and cannot be noted", || first_use() == 503);
    database.sql(grants("What a gateway needs for a first use"));
    assert_eq!(first_use(), 200);
    gateway.terminate();
    assert!(gateway.wait().success());
}

//! What a bucket is configured for, and who may use it from pages of other origins: over loopback, against a store on
//! six directories.

#[allow(dead_code, reason = "each test uses its part")]
mod harness;

use std::thread;

use harness::{Client, Server};

fn tags(value: &str) -> Vec<u8> {
    format!("<Tagging><TagSet><Tag><Key>k</Key><Value>{value}</Value></Tag></TagSet></Tagging>").into_bytes()
}

fn metrics(id: &str) -> Vec<u8> {
    format!("<MetricsConfiguration><Id>{id}</Id></MetricsConfiguration>").into_bytes()
}

#[test]
fn a_configuration_is_set_read_deleted_and_outlives_the_server() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.get("/bucket?tagging").expect(404, "NoSuchBucket");
    client.put("/bucket?tagging", &tags("v")).expect(404, "NoSuchBucket");
    client.put("/bucket", b"").ok();
    client.get("/bucket?tagging").expect(404, "NoSuchTagSet");
    client.put("/bucket?tagging", &tags("v")).ok();
    client.put("/bucket?tagging", b"<Tagging/>").expect(400, "MalformedXML");
    let other = [("x-amz-expected-bucket-owner", "someone-else")];
    client.send("PUT", "/bucket?tagging", &other, &tags("w")).expect(403, "AccessDenied");
    client
        .put("/bucket?accelerate", b"<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>")
        .ok();
    // All of it is gone when the document says nothing.
    client.put("/bucket?notification", b"<NotificationConfiguration/>").ok();
    drop(server);
    let server = Server::start(root.path());
    let client = server.client();
    assert_eq!(client.get("/bucket?tagging").ok().element("Value"), Some("v"));
    assert_eq!(client.get("/bucket?accelerate").ok().element("Status"), Some("Enabled"));
    assert_eq!(client.get("/bucket?location").ok().status, 200);
    assert_eq!(client.delete("/bucket?tagging").status, 204);
    assert_eq!(client.delete("/bucket?tagging").status, 204);
    client.get("/bucket?tagging").expect(404, "NoSuchTagSet");
    assert_eq!(client.get("/bucket?ownershipControls").ok().element("ObjectOwnership"), Some("BucketOwnerEnforced"));
    assert_eq!(client.delete("/bucket?ownershipControls").status, 204);
    client.get("/bucket?ownershipControls").expect(404, "OwnershipControlsNotFoundError");
    // A bucket that is made again has none of it, but for the tags it is made with.
    assert_eq!(client.delete("/bucket").status, 204);
    let tagged = b"<CreateBucketConfiguration><Tags><Tag><Key>k</Key><Value>again</Value></Tag></Tags>\
        </CreateBucketConfiguration>";
    client.put("/bucket", tagged).ok();
    assert_eq!(client.get("/bucket?tagging").ok().element("Value"), Some("again"));
    assert_eq!(client.get("/bucket?accelerate").ok().element("Status"), None);
}

#[test]
fn configurations_with_ids_are_listed_in_pages_and_limited() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    let put = |n: usize| client.put(&format!("/bucket?metrics&id=m{n:04}"), &metrics(&format!("m{n:04}")));
    for n in 0..1000 {
        put(n).ok();
    }
    put(1000).expect(400, "TooManyConfigurations");
    // To replace one is no new one.
    put(999).ok();
    let mut ids = Vec::new();
    let mut token = String::new();
    let mut pages = 0;
    loop {
        let page = client.get(&format!("/bucket?metrics{token}")).ok();
        pages += 1;
        ids.extend(page.elements("Id").into_iter().map(str::to_owned));
        let truncated = page.element("IsTruncated") == Some("true");
        let Some(next) = page.element("NextContinuationToken").filter(|_| truncated) else { break };
        token = format!("&continuation-token={next}");
    }
    let expect: Vec<String> = (0..1000).map(|n| format!("m{n:04}")).collect();
    assert_eq!((pages, ids), (10, expect));
    assert_eq!(client.get("/bucket?metrics&id=m0007").ok().element("Id"), Some("m0007"));
    assert_eq!(client.delete("/bucket?metrics&id=m0007").status, 204);
    client.delete("/bucket?metrics&id=m0007").expect(404, "NoSuchConfiguration");
    client.get("/bucket?metrics&id=m0007").expect(404, "NoSuchConfiguration");
    put(1000).ok();
    assert_eq!(client.get("/bucket?inventory").ok().elements("Id"), [""; 0]);
}

#[test]
fn all_configurations_of_a_bucket_together_are_bounded() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    let tag = |n: usize| format!("<Tag><Key>{n}</Key><Value>{}</Value></Tag>", "v".repeat(256));
    let many: String = (0..4000).map(tag).collect();
    let put = |n: usize| {
        let filter = format!("<Filter><And><Prefix>p</Prefix>{many}</And></Filter>");
        let document = format!("<MetricsConfiguration><Id>{n}</Id>{filter}</MetricsConfiguration>");
        client.put(&format!("/bucket?metrics&id={n}"), document.as_bytes())
    };
    put(1).expect(400, "InvalidRequest");
    client.get("/bucket?metrics&id=1").expect(404, "NoSuchConfiguration");
    client.put("/bucket?metrics&id=m", &metrics("m")).ok();
}

#[test]
fn changes_of_different_kinds_that_race_are_all_kept() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    let change = |client: Client, target: String, document: Vec<u8>| {
        thread::spawn(move || {
            client.put(&target, &document).ok();
            // In force as soon as it is acknowledged.
            client.get(&target).ok();
        })
    };
    let paid = b"<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>".to_vec();
    let abac = b"<AbacStatus><Status>Enabled</Status></AbacStatus>".to_vec();
    let mut changes = vec![
        change(client.clone(), "/bucket?tagging".into(), tags("v")),
        change(client.clone(), "/bucket?requestPayment".into(), paid),
        change(client.clone(), "/bucket?abac".into(), abac),
    ];
    for n in 0..16 {
        changes.push(change(client.clone(), format!("/bucket?metrics&id={n}"), metrics(&n.to_string())));
    }
    changes.into_iter().for_each(|change| change.join().unwrap());
    assert_eq!(client.get("/bucket?tagging").ok().element("Value"), Some("v"));
    assert_eq!(client.get("/bucket?requestPayment").ok().element("Payer"), Some("Requester"));
    assert_eq!(client.get("/bucket?abac").ok().element("Status"), Some("Enabled"));
    assert_eq!(client.get("/bucket?metrics").ok().elements("Id").len(), 16);
}

const RULES: &[u8] = b"<CORSConfiguration><CORSRule><AllowedOrigin>https://*.page.org</AllowedOrigin>\
    <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader>\
    <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>";
const PAGE: (&str, &str) = ("origin", "https://my.page.org");
const ALLOW: &str = "access-control-allow-origin";

#[test]
fn a_browser_that_asks_first_needs_no_signature() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    let ask = |target: &str, headers: &[(&str, &str)]| client.anonymous("OPTIONS", target, headers);
    let get = ("access-control-request-method", "GET");
    ask("/bucket/key", &[]).expect(400, "BadRequest");
    ask("/bucket/key", &[PAGE, get]).expect(403, "AccessForbidden");
    ask("/nowhere/key", &[PAGE, get]).expect(403, "AccessForbidden");
    ask("/", &[PAGE, get]).expect(403, "AccessForbidden");
    client.put("/bucket?cors", RULES).ok();
    for target in ["/bucket/key", "/bucket", "/bucket/key?X-Amz-Signature=00&uploadId=1", "/bucket?newthing"] {
        let reply = ask(target, &[PAGE, get, ("access-control-request-headers", "X-Amz-Date")]).expect(200, "");
        for (name, value) in [
            (ALLOW, PAGE.1),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "x-amz-date"),
            ("access-control-expose-headers", "ETag"),
            ("access-control-max-age", "60"),
            ("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
            ("content-length", "0"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{target} {name}");
        }
        assert!(reply.header("x-amz-request-id").is_some());
    }
    // By virtual host.
    let head = "OPTIONS /key HTTP/1.1\r\nhost: bucket.s3.test\r\n";
    let lines = format!("{head}{}: {}\r\n{}: {}\r\n", PAGE.0, PAGE.1, get.0, get.1);
    assert_eq!(client.raw("OPTIONS", &lines, b"").expect(200, "").header(ALLOW), Some(PAGE.1));
    ask("/bucket/key", &[PAGE]).expect(400, "BadRequest");
    let refused = ask("/bucket/key", &[PAGE, ("access-control-request-method", "DELETE")]);
    let refused = refused.expect(403, "AccessForbidden");
    assert_eq!((refused.element("Method"), refused.element("ResourceType")), (Some("DELETE"), Some("OBJECT")));
    assert_eq!(refused.header(ALLOW), None);
    ask("/bucket/key", &[("origin", "https://page.com"), get]).expect(403, "AccessForbidden");
    ask("/bucket/key", &[PAGE, get, ("access-control-request-headers", "cookie")]).expect(403, "AccessForbidden");
    assert_eq!(client.delete("/bucket?cors").status, 204);
    ask("/bucket/key", &[PAGE, get]).expect(403, "AccessForbidden");
}

#[test]
fn every_reply_to_a_page_that_a_rule_lets_in_says_so() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    client.put("/bucket/key", b"body").ok();
    let send = |method: &str, target: &str, headers: &[(&str, &str)]| client.send(method, target, headers, b"");
    assert_eq!(send("GET", "/bucket/key", &[PAGE]).ok().header(ALLOW), None);
    client.put("/bucket?cors", RULES).ok();
    let read = send("GET", "/bucket/key", &[PAGE]).ok();
    assert_eq!((read.body.as_slice(), read.header(ALLOW)), (&b"body"[..], Some(PAGE.1)));
    assert_eq!(read.header("access-control-expose-headers"), Some("ETag"));
    assert_eq!(send("GET", "/bucket/key", &[]).ok().header(ALLOW), None);
    assert_eq!(send("GET", "/bucket/key", &[("origin", "https://page.com")]).ok().header(ALLOW), None);
    assert_eq!(send("PUT", "/bucket/other", &[PAGE]).ok().header(ALLOW), Some(PAGE.1));
    assert_eq!(send("GET", "/bucket?list-type=2", &[PAGE]).ok().header(ALLOW), Some(PAGE.1));
    // Not allowed, and done all the same: whom the browser lets read it is the browser's to decide.
    assert_eq!(send("DELETE", "/bucket/other", &[PAGE]).header(ALLOW), None);
    assert_eq!(send("HEAD", "/bucket/key", &[PAGE]).ok().header(ALLOW), None);
    // Refusals as well.
    assert_eq!(send("GET", "/bucket/nothing", &[PAGE]).expect(404, "NoSuchKey").header(ALLOW), Some(PAGE.1));
    assert_eq!(send("GET", "/bucket?newthing", &[PAGE]).expect(501, "NotImplemented").header(ALLOW), Some(PAGE.1));
    let denied = client.anonymous("GET", "/bucket/key", &[PAGE]).expect(403, "AccessDenied");
    assert_eq!(denied.header(ALLOW), Some(PAGE.1));
    let etag = read.header("etag").unwrap().to_owned();
    let unchanged = send("GET", "/bucket/key", &[PAGE, ("if-none-match", &etag)]);
    assert_eq!((unchanged.status, unchanged.header(ALLOW)), (304, Some(PAGE.1)));
    // A change counts at once.
    client.put("/bucket?cors", &String::from_utf8_lossy(RULES).replace("page.org", "page.com").into_bytes()).ok();
    assert_eq!(send("GET", "/bucket/key", &[PAGE]).ok().header(ALLOW), None);
}

use super::cors::{Asked, Rules, preflight};
use super::*;
use crate::head::Head;

type Expect<T> = std::result::Result<T, Code>;

/// The content of a document whose root is the kind's.
fn content(kind: Kind, inner: &str) -> Result<Configuration> {
    read(kind, format!("<{0} xmlns=\"{1}\">{inner}</{0}>", kind.root(), xml::NAMESPACE).as_bytes())
}

/// `expect`: the content, or the code of the refusal. What was accepted once is accepted as it was written then.
#[track_caller]
fn check(kind: Kind, inner: &str, expect: Expect<&str>) {
    let found = content(kind, inner).map(|configuration| configuration.content);
    let found = found.as_deref().map_err(|error| error.code);
    assert_eq!(found, expect, "{inner:.300}");
    // What sets nothing is not written anywhere.
    if let Ok(expect) = expect
        && !expect.is_empty()
    {
        assert_eq!(content(kind, expect).map(|again| again.content).as_deref(), Ok(expect));
    }
}

fn tag(key: &str, value: &str) -> String {
    format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
}

fn tag_set(tags: &str) -> String {
    format!("<TagSet>{tags}</TagSet>")
}

#[test]
fn tags_are_kept_in_order_and_within_their_limits() {
    let ok = |tags: &str| check(Kind::Tagging, &tag_set(tags), Ok(&tag_set(tags)));
    let refused = |tags: &str, code: Code| check(Kind::Tagging, &tag_set(tags), Err(code));
    ok(&(tag("b", "1") + &tag("a", "")));
    ok(&tag("Kosten stelle/+-=._:@", "\u{e9}\u{4e16}\u{754c} 1"));
    ok(&tag(&"k".repeat(128), &"v".repeat(256)));
    ok(&(0..50).map(|n| tag(&n.to_string(), "")).collect::<String>());
    ok(&tag("not-aws:x", "aws:"));
    check(Kind::Tagging, "<TagSet/>", Ok(""));
    refused(&(0..51).map(|n| tag(&n.to_string(), "")).collect::<String>(), Code::BadRequest);
    refused(&tag(&"k".repeat(129), ""), Code::InvalidTag);
    refused(&tag("k", &"v".repeat(257)), Code::InvalidTag);
    // 65 letters, each of two units.
    refused(&tag(&"\u{20000}".repeat(65), ""), Code::InvalidTag);
    refused(&tag("", "v"), Code::InvalidTag);
    refused(&tag("a#", ""), Code::InvalidTag);
    refused(&tag("a", "&lt;"), Code::InvalidTag);
    refused(&(tag("a", "1") + &tag("a", "2")), Code::InvalidTag);
    refused(&tag("aws:x", ""), Code::InvalidTag);
    refused(&tag("AWS:x", ""), Code::InvalidTag);
    refused("<Tag><Key>a</Key></Tag>", Code::MalformedXml);
    refused("<Tag><Value>a</Value></Tag>", Code::MalformedXml);
    refused("<Tag><Key>a</Key><Key>b</Key><Value/></Tag>", Code::MalformedXml);
    refused("<Label/>", Code::MalformedXml);
    refused("text", Code::MalformedXml);
    check(Kind::Tagging, "", Err(Code::MalformedXml));
}

#[test]
fn public_access_is_kept_out_by_four_switches() {
    let all = |acls: &str, policy: &str| {
        format!(
            "<BlockPublicAcls>{acls}</BlockPublicAcls><IgnorePublicAcls>false</IgnorePublicAcls>\
             <BlockPublicPolicy>{policy}</BlockPublicPolicy><RestrictPublicBuckets>false</RestrictPublicBuckets>"
        )
    };
    let check = |inner: &str, expect: Expect<&str>| check(Kind::PublicAccessBlock, inner, expect);
    check(&all("true", "true"), Ok(&all("true", "true")));
    check("<BlockPublicAcls>TRUE</BlockPublicAcls>", Ok(&all("true", "false")));
    check("", Err(Code::InvalidRequest));
    check("<BlockPublicAcls>yes</BlockPublicAcls>", Err(Code::MalformedXml));
    check("<BlockPublicAcls>true</BlockPublicAcls><BlockEverything/>", Err(Code::MalformedXml));
}

#[test]
fn only_the_owner_of_the_bucket_owns_objects() {
    let rule = |ownership: &str| format!("<Rule><ObjectOwnership>{ownership}</ObjectOwnership></Rule>");
    let check = |inner: &str, expect: Expect<&str>| check(Kind::OwnershipControls, inner, expect);
    check(&rule("BucketOwnerEnforced"), Ok(&rule("BucketOwnerEnforced")));
    check(&rule("BucketOwnerPreferred"), Err(Code::NotImplemented));
    check(&rule("ObjectWriter"), Err(Code::NotImplemented));
    check(&rule("Nobody"), Err(Code::MalformedXml));
    check(&rule("BucketOwnerEnforced").repeat(2), Err(Code::MalformedXml));
    check("", Err(Code::MalformedXml));
}

#[test]
fn payer_acceleration_and_tag_based_access_are_one_word() {
    check(Kind::RequestPayment, "<Payer>Requester</Payer>", Ok("<Payer>Requester</Payer>"));
    check(Kind::RequestPayment, "<Payer> BucketOwner\n</Payer>", Ok("<Payer>BucketOwner</Payer>"));
    check(Kind::RequestPayment, "<Payer>requester</Payer>", Err(Code::MalformedXml));
    check(Kind::RequestPayment, "", Err(Code::MalformedXml));
    check(Kind::Accelerate, "<Status>Suspended</Status>", Ok("<Status>Suspended</Status>"));
    check(Kind::Accelerate, "<Status>Disabled</Status>", Err(Code::MalformedXml));
    check(Kind::Accelerate, "", Err(Code::MalformedXml));
    check(Kind::Abac, "<Status>Enabled</Status>", Ok("<Status>Enabled</Status>"));
    check(Kind::Abac, "<Status>Suspended</Status>", Err(Code::MalformedXml));
    check(Kind::Abac, "<Status><Enabled/></Status>", Err(Code::MalformedXml));
}

const QUEUE: &str = "<Queue>arn:aws:sqs:us-east-1:123456789012:q</Queue>";

fn queue(id: &str, events: &[&str], filter: &str) -> String {
    let id = if id.is_empty() { String::new() } else { format!("<Id>{id}</Id>") };
    let events: String = events.iter().map(|event| format!("<Event>s3:{event}</Event>")).collect();
    format!("<QueueConfiguration>{id}{QUEUE}{events}{filter}</QueueConfiguration>")
}

fn key_filter(rules: &[(&str, &str)]) -> String {
    let rule =
        |(name, value): &(&str, &str)| format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>");
    format!("<Filter><S3Key>{}</S3Key></Filter>", rules.iter().map(rule).collect::<String>())
}

#[test]
fn notifications_name_targets_events_and_keys() {
    let ok = |inner: &str| check(Kind::Notification, inner, Ok(inner));
    let refused = |inner: &str, code: Code| check(Kind::Notification, inner, Err(code));
    let put = ["ObjectCreated:Put"];
    ok(&queue("a", &["ObjectCreated:*", "ObjectRemoved:Delete"], &key_filter(&[("Prefix", "a/"), ("Suffix", ".jpg")])));
    ok("<EventBridgeConfiguration></EventBridgeConfiguration>");
    ok("<TopicConfiguration><Id>t</Id><Topic>arn:aws:sns:eu-1:1:t</Topic><Event>s3:ObjectTagging:*</Event>\
        </TopicConfiguration><CloudFunctionConfiguration><Id>f</Id><CloudFunction>arn:hafiz:lambda:::function:f\
        </CloudFunction><Event>s3:ObjectAcl:Put</Event></CloudFunctionConfiguration>");
    check(Kind::Notification, "", Ok(""));
    let lower = queue("a", &put, &key_filter(&[("suffix", "z"), ("prefix", "a")]));
    check(Kind::Notification, &lower, Ok(&queue("a", &put, &key_filter(&[("Prefix", "a"), ("Suffix", "z")]))));
    for event in ["ObjectEaten:*", "ObjectCreated", "*", "ObjectCreated:put"] {
        refused(&queue("a", &[event], ""), Code::InvalidArgument);
    }
    refused(&queue("a", &[], ""), Code::MalformedXml);
    refused(&queue("a", &put, &key_filter(&[("Prefix", "a"), ("prefix", "b")])), Code::InvalidArgument);
    refused(&queue("a", &put, &key_filter(&[("Infix", "a")])), Code::InvalidArgument);
    refused(&queue("a", &put, &key_filter(&[("Prefix", &"p".repeat(1025))])), Code::InvalidArgument);
    refused(&queue("a", &put, "<Filter/>"), Code::MalformedXml);
    refused(&queue(&"i".repeat(256), &put, ""), Code::InvalidArgument);
    for arn in ["q", "arn:aws:sns:us-east-1:1:q", "arn:aws:sqs:us-east-1:1:", "arn::sqs:us-east-1:1:q"] {
        let other = queue("a", &put, "").replace("arn:aws:sqs:us-east-1:123456789012:q", arn);
        refused(&other, Code::InvalidArgument);
    }
    refused(&queue("a", &put, "").replace("Queue>", "Topic>"), Code::MalformedXml);
    let many = |count: usize| -> String {
        (0..count).map(|n| queue(&n.to_string(), &put, &key_filter(&[("Prefix", &format!("{n}/"))]))).collect()
    };
    ok(&many(100));
    refused(&many(101), Code::InvalidRequest);
}

#[test]
fn no_event_of_a_key_goes_two_ways() {
    let pair = |events: [&str; 2], filters: [&str; 2]| {
        queue("a", &[events[0]], filters[0]) + &queue("b", &[events[1]], filters[1])
    };
    let filter = |prefix: &str, suffix: &str| key_filter(&[("Prefix", prefix), ("Suffix", suffix)]);
    let refused = |inner: &str| check(Kind::Notification, inner, Err(Code::InvalidArgument));
    let ok = |inner: &str| check(Kind::Notification, inner, Ok(inner));
    let (put, copy, created) = ("ObjectCreated:Put", "ObjectCreated:Copy", "ObjectCreated:*");
    refused(&pair([put, put], ["", ""]));
    refused(&pair([created, put], ["", ""]));
    refused(&pair([put, created], [&filter("a", ""), ""]));
    refused(&pair([put, put], [&filter("a/b", ""), &filter("a/", "x")]));
    refused(&pair([put, put], [&filter("a", ".jpg"), &filter("ab", "g")]));
    ok(&pair([put, copy], ["", ""]));
    ok(&pair([put, put], [&filter("a", ""), &filter("b", "")]));
    ok(&pair([put, put], [&filter("", ".jpg"), &filter("", ".png")]));
    refused(&queue("a", &[created, put], ""));
    refused(&queue("a", &[put, put], ""));
    refused(&(queue("a", &[put], "") + &queue("a", &[copy], "")));
}

#[test]
fn rules_without_an_id_get_one_that_stays() {
    let ids = |inner: &str| -> Vec<String> {
        let content = content(Kind::Notification, inner).unwrap().content;
        let pieces = content.split("<Id>").skip(1);
        pieces.map(|piece| piece.split_once("</Id>").unwrap().0.to_owned()).collect()
    };
    let two = queue("", &["ObjectCreated:Put"], "") + &queue("", &["ObjectCreated:Copy"], "");
    let made = ids(&two);
    assert_eq!(made, ids(&two));
    assert!(made.len() == 2 && made[0] != made[1] && made.iter().all(|id| id.len() == 32), "{made:?}");
}

const INVENTORY: &str = "<Id>i</Id><IsEnabled>true</IsEnabled><Filter><Prefix>a/</Prefix></Filter><Destination>\
                         <S3BucketDestination><AccountId>1</AccountId><Bucket>arn:aws:s3:::lists</Bucket><Format>CSV\
                         </Format><Prefix>p</Prefix><Encryption><SSE-KMS><KeyId>k</KeyId></SSE-KMS></Encryption>\
                         </S3BucketDestination></Destination><Schedule><Frequency>Daily</Frequency></Schedule>\
                         <IncludedObjectVersions>All</IncludedObjectVersions><OptionalFields><Field>Size</Field>\
                         <Field>ETag</Field></OptionalFields>";

#[test]
fn an_inventory_says_what_is_listed_where_and_when() {
    let changed = |from: &str, to: &str| {
        assert!(INVENTORY.contains(from), "{from}");
        INVENTORY.replace(from, to)
    };
    let ok = |inner: &str| check(Kind::Inventory, inner, Ok(inner));
    let refused = |from: &str, to: &str, code: Code| check(Kind::Inventory, &changed(from, to), Err(code));
    ok(INVENTORY);
    ok(&changed("<SSE-KMS><KeyId>k</KeyId></SSE-KMS>", "<SSE-S3></SSE-S3>"));
    ok(&changed("<Filter><Prefix>a/</Prefix></Filter>", ""));
    refused("<Id>i</Id>", "", Code::MalformedXml);
    refused("<Id>i</Id>", "<Id></Id>", Code::InvalidConfigurationId);
    refused("true", "maybe", Code::MalformedXml);
    refused("<IsEnabled>true</IsEnabled>", "", Code::MalformedXml);
    refused("CSV", "JSON", Code::MalformedXml);
    refused("Daily", "Hourly", Code::MalformedXml);
    refused("All", "ALL", Code::MalformedXml);
    refused("Size", "SIZE", Code::MalformedXml);
    refused("<SSE-KMS><KeyId>k</KeyId></SSE-KMS>", "", Code::MalformedXml);
    refused("</SSE-KMS>", "</SSE-KMS><SSE-S3/>", Code::MalformedXml);
    refused("arn:aws:s3:::lists", "lists", Code::InvalidArgument);
    refused("arn:aws:s3:::lists", "arn:aws:s3:::Bad_Name", Code::InvalidArgument);
    refused("<Field>Size</Field>", &"<Field>Size</Field>".repeat(20), Code::MalformedXml);
    let longest = "i".repeat(64);
    assert_eq!(content(Kind::Inventory, &INVENTORY.replace(">i<", &format!(">{longest}<"))).unwrap().id, longest);
    for id in ["i".repeat(65).as_str(), "a b", "a/b", "\u{e9}"] {
        refused(">i<", &format!(">{id}<"), Code::InvalidConfigurationId);
    }
}

#[test]
fn analytics_metrics_and_tiering_filter_objects_by_one_condition_or_several() {
    let filter = |inner: &str| format!("<Id>i</Id><Filter>{inner}</Filter>");
    let check_metrics = |inner: &str, expect: Expect<()>| {
        let inner = filter(inner);
        check(Kind::Metrics, &inner, expect.map(|()| inner.as_str()));
    };
    let (prefix, tag_a, arn) = ("<Prefix>p</Prefix>", tag("a", "1"), "<AccessPointArn>arn:aws:s3:x</AccessPointArn>");
    check(Kind::Metrics, "<Id>i</Id>", Ok("<Id>i</Id>"));
    check_metrics(prefix, Ok(()));
    check_metrics(&tag_a, Ok(()));
    check_metrics(arn, Ok(()));
    check_metrics(&format!("<And>{prefix}{tag_a}{}{arn}</And>", tag("b", "")), Ok(()));
    check_metrics("", Err(Code::MalformedXml));
    check_metrics(&format!("{prefix}{tag_a}"), Err(Code::MalformedXml));
    check_metrics(&format!("<And>{prefix}</And>"), Err(Code::MalformedXml));
    check_metrics(&format!("<And>{prefix}{tag_a}</And>{prefix}"), Err(Code::MalformedXml));
    check_metrics("<AccessPointArn>x</AccessPointArn>", Err(Code::MalformedXml));
    check_metrics(&tag("", ""), Err(Code::InvalidTag));

    let analysis = "<StorageClassAnalysis></StorageClassAnalysis>";
    let export = "<StorageClassAnalysis><DataExport><OutputSchemaVersion>V_1</OutputSchemaVersion><Destination>\
                  <S3BucketDestination><Format>CSV</Format><Bucket>arn:aws:s3:::lists</Bucket></S3BucketDestination>\
                  </Destination></DataExport></StorageClassAnalysis>";
    for analysis in [analysis, export] {
        let inner = format!("{}{analysis}", filter(prefix));
        check(Kind::Analytics, &inner, Ok(&inner));
    }
    check(Kind::Analytics, &filter(prefix), Err(Code::MalformedXml));
    check(Kind::Analytics, &format!("{}{analysis}", filter(arn)), Err(Code::MalformedXml));
    check(Kind::Analytics, &format!("<Id>i</Id>{}", export.replace("V_1", "V_2")), Err(Code::MalformedXml));

    let tiering =
        |days: &str, tier: &str| format!("<Tiering><Days>{days}</Days><AccessTier>{tier}</AccessTier></Tiering>");
    let check_tiering = |tierings: &str, expect: Expect<()>| {
        let inner = format!("{}<Status>Enabled</Status>{tierings}", filter(prefix));
        check(Kind::IntelligentTiering, &inner, expect.map(|()| inner.as_str()));
    };
    let (archive, deep) = ("ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS");
    check_tiering(&tiering("90", archive), Ok(()));
    check_tiering(&(tiering("125", archive) + &tiering("730", deep)), Ok(()));
    check_tiering("", Err(Code::MalformedXml));
    check_tiering(&tiering("89", archive), Err(Code::InvalidArgument));
    check_tiering(&tiering("179", deep), Err(Code::InvalidArgument));
    check_tiering(&tiering("731", deep), Err(Code::InvalidArgument));
    check_tiering(&tiering("many", deep), Err(Code::MalformedXml));
    check_tiering(&tiering("90", "COLD"), Err(Code::MalformedXml));
    check_tiering(&tiering("90", archive).repeat(2), Err(Code::MalformedXml));
    check(Kind::IntelligentTiering, &(filter(prefix) + &tiering("90", archive)), Err(Code::MalformedXml));
}

fn cors_rule(origins: &[&str], methods: &[&str], headers: &[&str], more: &str) -> String {
    let all = |name: &str, values: &[&str]| -> String {
        values.iter().map(|value| format!("<{name}>{value}</{name}>")).collect()
    };
    let (origins, methods) = (all("AllowedOrigin", origins), all("AllowedMethod", methods));
    format!("<CORSRule>{origins}{methods}{}{more}</CORSRule>", all("AllowedHeader", headers))
}

#[test]
fn cross_origin_rules_are_checked_as_they_are_set() {
    let ok = |inner: &str| check(Kind::Cors, inner, Ok(inner));
    let refused = |inner: &str, code: Code| check(Kind::Cors, inner, Err(code));
    let simple = cors_rule(&["*"], &["GET"], &[], "");
    ok(&simple);
    ok(&cors_rule(
        &["https://*.example.com", "null", ""],
        &["PUT", "POST", "DELETE", "HEAD"],
        &["*", "x-amz-*"],
        "<MaxAgeSeconds>0</MaxAgeSeconds><ExposeHeader>ETag</ExposeHeader>",
    ));
    check(
        Kind::Cors,
        &simple.replace("<CORSRule>", "<CORSRule><MaxAgeSeconds>30</MaxAgeSeconds><ID>r</ID>"),
        Ok(&simple
            .replace("<CORSRule>", "<CORSRule><ID>r</ID>")
            .replace("</CORSRule>", "<MaxAgeSeconds>30</MaxAgeSeconds></CORSRule>")),
    );
    ok(&simple.repeat(100));
    refused(&simple.repeat(101), Code::MalformedXml);
    refused("", Code::MalformedXml);
    refused("<CORSRule/>", Code::MalformedXml);
    refused(&cors_rule(&[], &["GET"], &[], ""), Code::MalformedXml);
    refused(&cors_rule(&["*"], &[], &[], ""), Code::MalformedXml);
    for method in ["PATCH", "OPTIONS", "get", ""] {
        refused(&cors_rule(&["*"], &[method], &[], ""), Code::InvalidRequest);
    }
    refused(&cors_rule(&["http://*.*"], &["GET"], &[], ""), Code::InvalidRequest);
    refused(&cors_rule(&["*"], &["GET"], &["x-*-*"], ""), Code::InvalidRequest);
    refused(&cors_rule(&["*"], &["GET"], &[], "<ExposeHeader>*</ExposeHeader>"), Code::InvalidRequest);
    for age in ["-1", "x", "2147483648"] {
        let more = format!("<MaxAgeSeconds>{age}</MaxAgeSeconds>");
        refused(&cors_rule(&["*"], &["GET"], &[], &more), Code::MalformedXml);
    }
    refused(&cors_rule(&["*"], &["GET"], &[], &format!("<ID>{}</ID>", "i".repeat(256))), Code::MalformedXml);
    refused(&simple.repeat(1 + cors::DOCUMENT_BYTES_MAX / simple.len()), Code::MaxMessageLengthExceeded);
    refused(&cors_rule(&["*"], &["GET"], &[], "<Cookies/>"), Code::MalformedXml);
    // Found by the fuzzer: what is no character of XML was kept, and could not be read back.
    for id in ["\0", "&#1;", "\u{1f}"] {
        refused(&cors_rule(&["*"], &["GET"], &[], &format!("<ID>{id}</ID>")), Code::MalformedXml);
    }
    assert_eq!(read(Kind::Cors, b"").unwrap_err().code, Code::MissingRequestBody);
}

/// What `rules` say to an `OPTIONS` with these headers: the lines of the reply, or the code.
fn ask(rules: Option<&str>, headers: &[(&str, &str)]) -> Expect<String> {
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let head = Head { method: "OPTIONS", target: "/bucket/key", headers: &headers };
    let rules = rules.map(|rules| Rules::of_content(rules).unwrap());
    match preflight(&head, "OBJECT", rules.as_ref()) {
        Ok(headers) => Ok(String::from_utf8(headers.as_bytes().to_vec()).unwrap()),
        Err(error) => Err(error.code),
    }
}

const VARY: &str = "Vary: Origin, Access-Control-Request-Headers, Access-Control-Request-Method\r\n";

#[test]
fn a_browser_that_asks_first_is_told_what_the_first_rule_that_fits_allows() {
    let rules = cors_rule(&["https://*.a.org"], &["PUT"], &["x-*", "Range"], "")
        + &cors_rule(
            &["*"],
            &["GET", "HEAD"],
            &[],
            "<MaxAgeSeconds>9</MaxAgeSeconds><ExposeHeader>ETag</ExposeHeader>",
        );
    let asked = |origin: &str, method: &str, names: &str| {
        let mut headers = vec![("Origin", origin), ("Access-Control-Request-Method", method)];
        if !names.is_empty() {
            headers.push(("Access-Control-Request-Headers", names));
        }
        ask(Some(&rules), &headers)
    };
    assert_eq!(
        asked("https://www.a.org", "PUT", "X-Amz-Date,range"),
        Ok(format!(
            "Access-Control-Allow-Origin: https://www.a.org\r\nAccess-Control-Allow-Methods: PUT\r\n\
             Access-Control-Allow-Headers: x-amz-date, range\r\nAccess-Control-Allow-Credentials: true\r\n{VARY}"
        ))
    );
    let any = format!(
        "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, HEAD\r\n\
         Access-Control-Expose-Headers: ETag\r\nAccess-Control-Max-Age: 9\r\n{VARY}"
    );
    assert_eq!(asked("https://www.a.org", "GET", ""), Ok(any.clone()));
    assert_eq!(asked("null", "HEAD", " , "), Ok(any));
    for (origin, method, names) in [
        ("https://a.org", "PUT", ""),
        ("http://www.a.org", "PUT", ""),
        ("https://www.a.org/", "PUT", ""),
        ("https://www.A.org", "PUT", ""),
        ("https://www.a.org", "DELETE", ""),
        ("https://www.a.org", "PUT", "range, cookie"),
        ("https://www.a.org", "GET", "range"),
    ] {
        assert_eq!(asked(origin, method, names), Err(Code::CrossOriginForbidden), "{origin} {method} {names}");
    }
    assert!(asked("https://www.a.org", "PUT", &"x-a,".repeat(100)).is_ok());
    assert_eq!(asked("https://www.a.org", "PUT", &"x-a,".repeat(101)), Err(Code::CrossOriginForbidden));
    assert_eq!(asked("", "GET", ""), Err(Code::BadRequest));
    assert_eq!(asked("x", "PATCH", ""), Err(Code::BadRequest));
    assert_eq!(ask(Some(&rules), &[("Origin", "x")]), Err(Code::BadRequest));
    assert_eq!(ask(None, &[]), Err(Code::BadRequest));
    assert_eq!(ask(None, &[("Origin", "x")]), Err(Code::CrossOriginForbidden));
}

#[test]
fn a_pattern_stands_for_any_text_between_its_ends() {
    let check = |pattern: &str, origin: &str, expect: bool| {
        let rules = Rules::of_content(&cors_rule(&[pattern], &["GET"], &[], "")).unwrap();
        let headers: [(&str, &[u8]); 1] = [("Origin", origin.as_bytes())];
        let asked = Asked::of(&Head { method: "GET", target: "/", headers: &headers }).unwrap();
        assert_eq!(rules.allow(&asked).is_some(), expect, "{pattern} {origin}");
    };
    check("*suffix", "foo.suffix", true);
    check("*suffix", "suffix", true);
    check("*suffix", "foo.suffix.get", false);
    check("start*end", "startend", true);
    check("start*end", "start12end", true);
    check("start*end", "0start12end", false);
    check("ab*ba", "aba", false);
    check("prefix*", "prefix", true);
    check("prefix*", "bla.prefix", false);
    check("exact", "exact", true);
    check("exact", "exactly", false);
    check("*", "any", true);
}

#[test]
fn a_request_from_a_page_is_judged_by_its_own_method_unless_it_asks_about_another() {
    let rules = Rules::of_content(&cors_rule(&["x"], &["GET"], &[], "")).unwrap();
    let check = |method: &str, headers: &[(&str, &str)], expect: bool| {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let head = Head { method, target: "/bucket", headers: &headers };
        let asked = Asked::of(&head);
        assert_eq!(asked.is_some_and(|asked| rules.allow(&asked).is_some()), expect, "{method} {headers:?}");
    };
    check("GET", &[("origin", "x")], true);
    check("GET", &[], false);
    check("GET", &[("origin", "y")], false);
    check("PUT", &[("origin", "x")], false);
    check("PUT", &[("origin", "x"), ("access-control-request-method", "GET")], true);
    check("GET", &[("origin", "x"), ("access-control-request-method", "PUT")], false);
    check("GET", &[("origin", "x"), ("access-control-request-headers", "range")], false);
    // Headers that it does send were asked about before.
    check("GET", &[("origin", "x"), ("range", "bytes=0-1")], true);
}

#[test]
fn what_was_never_set_is_answered_as_content_that_could_have_been_set() {
    for kind in Kind::ALL {
        match kind.unwritten() {
            Unwritten::Content("") | Unwritten::Missing(_) => {}
            Unwritten::Content(unwritten) => check(kind, unwritten, Ok(unwritten)),
        }
    }
}

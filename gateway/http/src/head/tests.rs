use super::*;

/// Parses `input` whole and describes the outcome in one line.
fn check(input: &[u8], expect: &str) {
    let limits = Limits::default();
    let got = match parse(input, &limits) {
        Ok(Parsed::Partial) => "partial".to_owned(),
        Ok(Parsed::Complete { head, len }) => {
            let mut line = format!("{} {} {:?} {len}", head.method(), head.target(), head.framing());
            if !head.keep_alive() {
                line.push_str(" close");
            }
            if head.expects_continue() {
                line.push_str(" expects");
            }
            line
        }
        Err(error) => format!("{} {error:?}", error.status()),
    };
    assert_eq!(got, expect, "{:?}", String::from_utf8_lossy(input));
}

#[test]
fn well_formed_heads_parse() {
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / None 27");
    check(b"GET /b/k%20?x=1&y HTTP/1.1\r\nhost: a:9000\r\n\r\nGET ", "GET /b/k%20?x=1&y None 44");
    check(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / None 29");
    check(b"PUT /a HTTP/1.1\r\nHost:a\r\nContent-Length: 12\r\n\r\n", "PUT /a Length(12) 47");
    check(b"PUT /a HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: Chunked\r\n\r\n", "PUT /a Chunked 63");
    check(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", "GET / None 49 close");
    check(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", "PUT / None 49 expects");
    check(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / None 25");
    check(b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\u{e4} None 29");
}

#[test]
fn http_1_0_closes_unless_asked_and_ignores_expect() {
    check(b"GET / HTTP/1.0\r\n\r\n", "GET / None 18 close");
    check(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / None 42");
    check(b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", "PUT / None 40 close");
    check(b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 TransferEncoding");
}

#[test]
fn incomplete_heads_ask_for_more() {
    check(b"", "partial");
    check(b"\r", "partial");
    check(b"GET / HT", "partial");
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r", "partial");
}

#[test]
fn malformed_request_lines_are_refused() {
    check(b"GET\r\nHost: a\r\n\r\n", "400 RequestLine");
    check(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 RequestLine");
    check(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400 RequestLine");
    check(b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "400 RequestLine");
    check(b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "400 RequestLine");
    check(b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400 RequestLine");
    check(b"\x16\x03\x01\x02\x00\x01", "400 RequestLine");
    check(b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 RequestLine");
    check(b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 RequestLine");
    check(b"PRI * HTTP/2.0\r\n\r\n", "505 Version");
    check(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505 Version");
    check(b"GET / http/1.1\r\nHost: a\r\n\r\n", "400 RequestLine");
}

#[test]
fn bare_line_feeds_are_refused_as_soon_as_seen() {
    check(b"GET / HTTP/1.1\nHost: a\n\n", "400 BareLineFeed");
    check(b"GET / HTTP/1.1\r\nHost: a\n", "400 BareLineFeed");
    check(b"\nGET / HTTP/1.1\r\n", "400 BareLineFeed");
    check(b"GET / HTTP/1.1\r\n\n", "400 BareLineFeed");
}

#[test]
fn malformed_header_fields_are_refused() {
    for field in [
        "A : b",
        " A: b",
        "A\tb: c",
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A: b\rc",
        "A: b\0c",
        "A: b\x7fc",
        "A",
        ": b",
        "A\r: b",
        "\u{e4}: b",
    ] {
        check(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n").as_bytes(), "400 Header");
    }
}

#[test]
fn body_framing_that_two_parsers_could_read_differently_is_refused() {
    let cases = [
        ("Content-Length: 5\r\nContent-Length: 6", "400 ContentLength"),
        ("Content-Length: 5\r\nContent-Length: 5", "400 ContentLength"),
        ("Content-Length: 5, 5", "400 ContentLength"),
        ("Content-Length: +5", "400 ContentLength"),
        ("Content-Length: -5", "400 ContentLength"),
        ("Content-Length: 0x5", "400 ContentLength"),
        ("Content-Length: 5 5", "400 ContentLength"),
        ("Content-Length:", "400 ContentLength"),
        ("Content-Length: 9223372036854775808", "400 ContentLength"),
        ("Content-Length: 99999999999999999999999", "400 ContentLength"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "400 ContentLength"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "400 ContentLength"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400 TransferEncoding"),
        ("Transfer-Encoding: chunked, chunked", "400 TransferEncoding"),
        ("Transfer-Encoding: chunked, gzip", "400 TransferEncoding"),
        ("Transfer-Encoding: ,chunked", "400 TransferEncoding"),
        ("Transfer-Encoding:", "400 TransferEncoding"),
        ("Transfer-Encoding: \x0bchunked", "400 Header"),
        ("Transfer-Encoding: gzip, chunked", "501 TransferCoding"),
        ("Transfer-Encoding: identity", "501 TransferCoding"),
        ("Transfer-Encoding: xchunked", "501 TransferCoding"),
    ];
    for (fields, expect) in cases {
        check(format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").as_bytes(), expect);
    }
}

#[test]
fn host_is_demanded_once_and_well_formed() {
    check(b"GET / HTTP/1.1\r\n\r\n", "400 Host");
    check(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 Host");
    check(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 Host");
    check(b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400 Host");
    check(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 Host");
}

#[test]
fn each_target_form_is_decided() {
    check(b"GET http://a/b?c HTTP/1.1\r\nHost: A\r\n\r\n", "GET /b?c None 38");
    check(b"GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / None 34");
    check(b"GET http://a/b HTTP/1.1\r\nHost: other\r\n\r\n", "400 Host");
    check(b"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", "400 Target");
    check(b"GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", "400 Target");
    check(b"GET http://u@a/b HTTP/1.1\r\nHost: a\r\n\r\n", "400 Target");
    check(b"GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", "400 Target");
    check(b"GET b/c HTTP/1.1\r\nHost: a\r\n\r\n", "400 Target");
    check(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "400 Target");
    check(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * None 31");
    check(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 Target");
}

#[test]
fn unknown_expectations_are_ignored() {
    check(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "PUT / None 40");
    check(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", "PUT / None 36");
}

#[test]
fn heads_beyond_their_limits_are_refused() {
    let mut long = b"GET /".to_vec();
    long.resize(16 * 1024, b'a');
    check(&long, "414 TargetTooLong");
    let mut fat = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    fat.resize(16 * 1024 - 4, b'a');
    let mut exact = fat.clone();
    exact.extend_from_slice(b"\r\n\r\n");
    check(&exact, "GET / None 16384");
    fat.extend_from_slice(b"a\r\n\r\n");
    check(&fat, "431 HeadTooLarge");
    let many = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    check(many(HEADERS_MAX).as_bytes(), "GET / None 621");
    check(many(HEADERS_MAX + 1).as_bytes(), "431 TooManyHeaders");
}

#[test]
fn headers_keep_order_duplicates_and_raw_bytes() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\nX-B: 1\r\nx-a:\t\xff\xfe \r\nx-b:  2  3\t\r\nEmpty: \r\n\r\n";
    let Ok(Parsed::Complete { head, .. }) = parse(input, &Limits::default()) else { panic!("does not parse") };
    let expect: [Header<'_>; 5] =
        [("Host", b"a"), ("X-B", b"1"), ("x-a", b"\xff\xfe"), ("x-b", b"2  3"), ("Empty", b"")];
    assert_eq!(head.headers(), expect);
    assert_eq!(head.header_all("X-b").collect::<Vec<_>>(), [b"1".as_slice(), b"2  3"]);
    assert_eq!(head.host(), Some("a"));
}

#[test]
fn the_scan_finds_the_same_end_however_the_bytes_are_cut() {
    let input = b"\r\nPUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n";
    let limits = Limits::default();
    let expect = Scan::default().advance(input, &limits).unwrap().unwrap();
    let mut scan = Scan::default();
    for end in 0..input.len() {
        match scan.advance(&input[..end], &limits).unwrap() {
            None => assert!(end < expect),
            Some(found) => {
                assert_eq!((found, end), (expect, expect));
                return;
            }
        }
    }
    panic!("no end found");
}

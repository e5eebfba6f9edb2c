//! Digests against the examples of RFC 7616 and RFC 2617, and what SIP peers write.

use proptest::prelude::*;

use super::*;

fn login(username: &str, password: &str) -> Login {
    Login { username: username.into(), password: password.to_owned().into() }
}

const RFC_7616: &str = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=ALGORITHM,
    nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

fn answer(challenge: &str, asked: &Asked) -> Credentials {
    Challenge::parse(challenge).expect(challenge).answer(&login("Mufasa", "Circle of Life"), asked, CNONCE)
}

const GET: Asked<'_> = Asked { method: "GET", uri: "/dir/index.html", body: b"" };

#[test]
fn the_examples_of_rfc_7616_section_3_9_1() {
    for (algorithm, expected) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("sha-512-256", "430d05014cecc49cab6fbe03176d41a1da86cbfe24a16580e22aaad928d960d0"),
    ] {
        let credentials = answer(&RFC_7616.replace("ALGORITHM", algorithm), &GET);
        assert_eq!(credentials.response, expected, "{algorithm}");
        assert!(credentials.to_string().contains(", qop=auth, nc=00000001"), "{credentials}");
    }
}

#[test]
fn a_challenge_without_qop_and_algorithm_is_answered_in_rfc_2069s_way() {
    let challenge = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#;
    let credentials =
        Challenge::parse(challenge).expect("well formed").answer(&login("Mufasa", "Circle Of Life"), &GET, "c");
    assert_eq!(credentials.response, "670fd8c2df070c60b045671b8b24ff02");
    assert!(!credentials.to_string().contains("nc="), "{credentials}");
}

#[test]
fn sip_094_auth_int_takes_the_body_and_sess_the_nonces_into_the_digest() {
    let asked = Asked { method: "INVITE", uri: "sip:1@h", body: b"v=0" };
    let made = |rest: &str| {
        let challenge = Challenge::parse(&format!(r#"Digest realm="pbx",nonce="n1",{rest}"#)).expect(rest);
        challenge.answer(&login("bob", "s3cret"), &asked, "c1")
    };
    let whole = made(r#"algorithm=SHA-256,qop="auth-int""#);
    assert_eq!(whole.response, "e963cacd1a8c4e8922e1b68d6343d40a8aa2c32604c135d998224b15e077e996");
    assert!(whole.are_of(&login("bob", "s3cret"), "INVITE", b"v=0"));
    assert!(!whole.are_of(&login("bob", "s3cret"), "INVITE", b"v=1"));
    assert_eq!(made(r#"algorithm=md5-SESS,qop="auth""#).response, "63e75792508c9b0feba5aa416dcd87e7");
}

#[test]
fn sip_094_only_digest_with_known_algorithm_and_protection_is_a_challenge() {
    for refused in [
        r#"Basic realm="pbx""#,
        r#"Digest realm="pbx", nonce="n", algorithm=SHA3"#,
        r#"Digest realm="pbx", nonce="n", algorithm=-sess"#,
        r#"Digest realm="pbx", nonce="n", qop="other""#,
        r#"Digest realm="pbx""#,
        r#"Digest nonce="n""#,
        r#"Digest realm="pbx", nonce="n"#,
        "Digest",
        "",
    ] {
        assert_eq!(Challenge::parse(refused), None, "{refused}");
    }
    let odd = Challenge::parse("DIGEST  realm = \"a \\\"b\\\", c\" , NONCE=n, Stale=TRUE, x=y").expect("well formed");
    assert_eq!((odd.realm.as_str(), odd.nonce.as_str(), odd.stale, odd.qop), ("a \"b\", c", "n", true, None));
}

#[test]
fn sip_093_credentials_fit_one_login_one_method_and_are_read_as_they_are_written() {
    let challenge = Challenge {
        realm: "trunk \"1\"".into(),
        nonce: "n".into(),
        opaque: None,
        algorithm: Hash::Sha256.into(),
        qop: Some(Qop::Auth),
        stale: false,
    };
    assert_eq!(Challenge::parse(&challenge.to_string()).as_ref(), Some(&challenge));
    let asked = Asked { method: "INVITE", uri: "sip:1000@192.0.2.10", body: b"" };
    let credentials = challenge.answer(&login("bob", "s3cret"), &asked, "c");
    let read = Credentials::parse(&credentials.to_string()).expect("our own writing");
    assert!(read == credentials);
    assert!(read.are_of(&login("bob", "s3cret"), "INVITE", b""));
    for (username, password, method) in
        [("bob", "S3cret", "INVITE"), ("bobby", "s3cret", "INVITE"), ("bob", "s3cret", "BYE"), ("bob", "", "INVITE")]
    {
        assert!(!read.are_of(&login(username, password), method, b""), "{username} {password} {method}");
    }
}

#[test]
fn sip_116_neither_password_nor_digest_is_printed() {
    let credentials = answer(&RFC_7616.replace("ALGORITHM", "MD5"), &GET);
    let printed = format!("{credentials:?} {:?}", login("bob", "s3cret"));
    assert!(!printed.contains("s3cret") && !printed.contains(&credentials.response), "{printed}");
}

proptest! {
    #[test]
    fn sip_016_no_header_text_panics(text in "(Digest |)([a-z]{1,9}=(\"[a-z\\\\\"]{0,5}\"?|[a-z0-9\u{e9}-]{0,9}),? ?){0,8}") {
        let _ = (Challenge::parse(&text), Credentials::parse(&text));
    }

    #[test]
    fn no_algorithm_name_panics(text in "[a-zA-Z0-9\u{e9}-]{0,14}") {
        let _ = Algorithm::parse(&text);
    }

    #[test]
    fn what_is_written_is_read(realm in "[ -~\u{e9}]{0,20}", nonce in "[!-~]{1,20}", name in "[ -~\u{e9}]{1,20}") {
        let challenge = Challenge { realm, nonce, opaque: None, algorithm: MD5, qop: None, stale: true };
        prop_assert_eq!(Challenge::parse(&challenge.to_string()), Some(challenge.clone()));
        let credentials = challenge.answer(&login(&name, "p"), &GET, "c");
        prop_assert!(Credentials::parse(&credentials.to_string()) == Some(credentials));
    }
}

"""RFC 4475 section 3.1.2: messages that break the grammar."""

from torture import OFFER, add, sip

add(
    "badinv01", "3.1.2.1", "Extraneous Header Field Separators", "400",
    "the Via has separators with nothing between; its sent-by can be read, so an answer can be sent",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
To: sip:m.okafor@example.com
From: sip:caller@example.net;tag=sep161
Max-Forwards: 70
Call-ID: badinv01.6b20ff@192.0.2.51
Contact: "Moss" <sip:moss@example.org>;;;;
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.51;;,;,,
Content-Type: application/sdp
Content-Length: @LENGTH@
""", OFFER),
)

add(
    "clerr", "3.1.2.2", "Content Length Larger Than Message", "400",
    "the datagram ends before the body does (SIP-003)",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
Max-Forwards: 80
To: sip:m.okafor@example.com
From: sip:caller@example.net;tag=cl9380
Contact: <sip:caller@host52.example.net>
Call-ID: clerr.0af1773c@192.0.2.52
CSeq: 8 INVITE
Via: SIP/2.0/UDP host52.example.com;branch=z9hG4bKcl52aa
Content-Type: application/sdp
Content-Length: 9999
""", OFFER),
)

add(
    "ncl", "3.1.2.3", "Negative Content-Length", "400",
    "Content-Length is digits only",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
Max-Forwards: 254
To: sip:m.okafor@example.com
From: sip:caller@example.net;tag=ncl3230
Contact: <sip:caller@host53.example.net>
Call-ID: ncl.5f20ad11@192.0.2.53
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.53;branch=z9hG4bKneg53
Content-Type: application/sdp
Content-Length: -999
""", OFFER),
)

add(
    "scalar02", "3.1.2.4", "Request Scalar Fields with Overlarge Values", "400",
    "CSeq is not below 2^31 and Max-Forwards is above 255; neither may be cut to size",
    sip(b"""
REGISTER sip:example.com SIP/2.0
Via: SIP/2.0/TCP host129.example.com;branch=z9hG4bKbig54
To: <sip:desk@example.com>
From: <sip:desk@example.com>;tag=big5054
Max-Forwards: 300
Call-ID: scalar02.e1770b@192.0.2.54
CSeq: 73786976294838206464 REGISTER
Contact: <sip:desk@host129.example.com>
  ;expires=281474976710656999
Expires: 1""" + b"0" * 150 + b"""
Contact: <sip:desk@host130.example.com>
  ;expires=18446744073709551700
Content-Length: 0
"""),
)

add(
    "scalarlg", "3.1.2.5", "Response Scalar Fields with Overlarge Values", "drop",
    "numbers beyond every limit in a response that matches nothing",
    sip(b"""
SIP/2.0 503 Service Unavailable
Via: SIP/2.0/TCP host129.example.com;branch=z9hG4bKbig55;received=192.0.2.129
To: <sip:desk@example.com>
From: <sip:other@example.net>;tag=big9055
Call-ID: scalarlg.770cc2@192.0.2.55
CSeq: 9990004448837722114400 INVITE
Retry-After: 848302715503028349304023000
Warning: 2077 desk "Please Wait"
Content-Length: 0
"""),
)

add(
    "quotbal", "3.1.2.6", "Unterminated Quoted String in Display Name", "400",
    "the quote that opens in To never closes",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
To: "Desk, M. Okafor <sip:m.okafor@example.com>
From: sip:caller@example.net;tag=quo9334
Max-Forwards: 10
Call-ID: quotbal.aab071@192.0.2.56
Contact: <sip:caller@host56.example.net>
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.56:5050;branch=z9hG4bKquo56
Content-Type: application/sdp
Content-Length: @LENGTH@
""", OFFER),
)

add(
    "ltgtruri", "3.1.2.7", "<> Enclosing Request-URI", "400",
    "a Request-URI stands without brackets",
    sip(b"""
INVITE <sip:desk@example.com> SIP/2.0
To: sip:desk@example.com
From: sip:caller@example.net;tag=ltg3911
Max-Forwards: 70
Call-ID: ltgtruri.1ab44e@192.0.2.57
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.57;branch=z9hG4bKltg57
Contact: <sip:caller@host57.example.net>
Content-Type: application/sdp
Content-Length: @LENGTH@
""", OFFER),
)

add(
    "lwsruri", "3.1.2.8", "Malformed SIP Request-URI (embedded LWS)", "400",
    "white space inside the Request-URI",
    sip(b"""
INVITE sip:desk@example.com; lr SIP/2.0
To: sip:desk@example.com;odd
From: sip:caller@example.net;tag=lws3121
Max-Forwards: 70
Call-ID: lwsruri.9a0ef2@192.0.2.58
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.58;branch=z9hG4bKlws58
Contact: <sip:caller@host58.example.net>
Content-Type: application/sdp
Content-Length: @LENGTH@
""", OFFER),
)

add(
    "lwsstart", "3.1.2.9", "Multiple SP Separating Request-Line Elements", "400",
    "exactly one space between the elements: one strict rule for the Request-Line instead of guesses",
    sip(b"""
INVITE  sip:desk@example.com  SIP/2.0
Max-Forwards: 8
To: sip:desk@example.com
From: sip:caller@example.net;tag=sps7321
Call-ID: lwsstart.40be0c@192.0.2.59
CSeq: 893 INVITE
Via: SIP/2.0/UDP 192.0.2.59;branch=z9hG4bKsps59
Contact: <sip:caller@host59.example.net>
Content-Type: application/sdp
Content-Length: @LENGTH@
""", OFFER), also=["invite"],
)

add(
    "trws", "3.1.2.10", "SP Characters at End of Request-Line", "400",
    "spaces after SIP/2.0: the same strict rule as in lwsstart",
    sip(b"""
OPTIONS sip:desk@example.com SIP/2.0\x20\x20
Via: SIP/2.0/TCP host60.example.com;branch=z9hG4bKtrw60
To: <sip:desk@example.com>
From: <sip:caller@example.com>;tag=trw3294
Call-ID: trws.bc0011f2@192.0.2.60
Accept: application/sdp
CSeq: 238 OPTIONS
Max-Forwards: 70
Content-Length: 0
"""), also=["200"],
)

add(
    "escruri", "3.1.2.11", "Escaped Headers in SIP Request-URI", "400",
    "a Request-URI has no headers (RFC 3261 section 19.1.1); ignoring them would lose what the sender meant to say",
    sip(b"""
INVITE sip:desk@example.com?Route=%3Csip:edge.example.com%3E SIP/2.0
To: sip:desk@example.com
From: sip:caller@example.net;tag=hdr3412
Max-Forwards: 70
Call-ID: escruri.55c1d0@192.0.2.61
Contact: <sip:caller@host61.example.net>
CSeq: 149 INVITE
Via: SIP/2.0/UDP host61.example.com;branch=z9hG4bKhdr61
Content-Type: application/sdp
Content-Length: @LENGTH@
""", OFFER), also=["invite"],
)

add(
    "baddate", "3.1.2.12", "Invalid Time Zone in Date Header Field", "invite",
    "Date is optional and of no use to us; a bad one never refuses a call (SIP-009)",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
To: sip:desk@example.com
From: sip:caller@example.net;tag=dat2239
Max-Forwards: 70
Call-ID: baddate.e0f7a8@host62.example.com
Contact: <sip:caller@host62.example.net>
CSeq: 1392 INVITE
Via: SIP/2.0/UDP host62.example.com;branch=z9hG4bKdat62
Date: Mon, 05 Jan 2026 18:30:00 IST
Content-Type: application/sdp
Content-Length: @LENGTH@
""", OFFER), also=["400"],
)

add(
    "regbadct", "3.1.2.13", "Failure to Enclose name-addr URI in <>", "405",
    "Contact is malformed, but the method is refused before anyone needs it",
    sip(b"""
REGISTER sip:example.com SIP/2.0
To: sip:desk@example.com
From: sip:desk@example.com;tag=ncl9981
Max-Forwards: 70
Call-ID: regbadct.76a900@192.0.2.63
CSeq: 8 REGISTER
Via: SIP/2.0/UDP 192.0.2.63;branch=z9hG4bKbct63
Contact: sip:desk@example.com?Route=%3Csip:edge.example.com%3E
Content-Length: 0
"""), also=["400"],
)

add(
    "badaspec", "3.1.2.14", "Spaces within addr-spec", "400",
    "spaces around the URI inside the brackets of To",
    sip(b"""
OPTIONS sip:desk@example.org SIP/2.0
Via: SIP/2.0/UDP host64.example.com:5060;branch=z9hG4bKspc64
Max-Forwards: 70
From: "Moss, Karim" <sip:k.moss@example.com>;tag=spc4334
To: "Okafor, Mary" < sip:m.okafor@example.org >
Call-ID: badaspec.2e41b0@192.0.2.64
Accept: application/sdp
CSeq: 3923 OPTIONS
l: 0
"""), also=["200"],
)

add(
    "baddn", "3.1.2.15", "Non-token Characters in Display Name", "200",
    "unquoted commas in the display names of From and To: each stands once only, so nothing can be misread, and PBXs do this",
    sip(b"""
OPTIONS sip:m.okafor@example.org SIP/2.0
Via: SIP/2.0/UDP host65.example.com:5060;branch=z9hG4bKcom65
Max-Forwards: 70
From: Moss, Karim <sip:k.moss@example.com>;tag=com43
To: Okafor, Mary <sip:m.okafor@example.org>
Call-ID: baddn.c70d25@192.0.2.65
Accept: application/sdp
CSeq: 3924 OPTIONS
l: 0
"""), also=["400"],
)

add(
    "badvers", "3.1.2.16", "Unknown Protocol Version", "505",
    "a version we do not speak, in the first line and in Via",
    sip(b"""
OPTIONS sip:m.okafor@example.org SIP/7.0
Via: SIP/7.0/UDP 192.0.2.66;branch=z9hG4bKver66
Max-Forwards: 70
From: K. Moss <sip:k.moss@example.com>;tag=ver6601
To: M. Okafor <sip:m.okafor@example.org>
Call-ID: badvers.31417b@192.0.2.66
CSeq: 1 OPTIONS
l: 0
"""),
)

add(
    "mismatch01", "3.1.2.17", "Start Line and CSeq Method Mismatch", "400",
    "the method in CSeq is not that of the first line (SIP-009)",
    sip(b"""
OPTIONS sip:desk@example.com SIP/2.0
To: sip:m.okafor@example.com
From: sip:caller@example.net;tag=mis34525
Max-Forwards: 6
Call-ID: mismatch01.d8f001@192.0.2.67
CSeq: 8 INVITE
Via: SIP/2.0/UDP host67.example.com;branch=z9hG4bKmis67
l: 0
"""),
)

add(
    "mismatch02", "3.1.2.18", "Unknown Method with CSeq Method Mismatch", "400",
    "CSeq is checked while the message is checked, before the method is inspected; RFC 4475 prefers 501 and accepts 400",
    sip(b"""
BRANDNEW sip:desk@example.com SIP/2.0
To: sip:m.okafor@example.com
From: sip:caller@example.net;tag=mis23411
Max-Forwards: 6
Call-ID: mismatch02.5b67e3@192.0.2.68
CSeq: 8 INVITE
Contact: <sip:caller@host68.example.net>
Via: SIP/2.0/UDP host68.example.com;branch=z9hG4bKmis68
Content-Type: application/sdp
l: @LENGTH@
""", OFFER), also=["501"],
)

add(
    "bigcode", "3.1.2.19", "Overlarge Response Code", "drop",
    "no status code has ten digits, and nothing answers a response",
    sip(b"""
SIP/2.0 4294967496 must not become 200
Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bKcode105
Call-ID: bigcode.90a2b2@192.0.2.105
CSeq: 353494 INVITE
From: <sip:desk@example.com>;tag=cod39233
To: <sip:other@example.edu>;tag=cod2229
Contact: <sip:desk@host105.example.com>
"""),
)

"""RFC 4475 sections 3.2 to 3.4: well-formed messages whose meaning is the difficulty."""

from torture import OFFER, add, sip

add(
    "badbranch", "3.2.1", "Missing Transaction Identifier", "200",
    "the branch is the cookie and nothing else: treated as no branch, matched by RFC 2543 rules",
    sip(b"""
OPTIONS sip:desk@example.com SIP/2.0
To: sip:desk@example.com
From: sip:caller@example.org;tag=bra3322
Max-Forwards: 70
Call-ID: badbranch.10ff2c@192.0.2.70
CSeq: 8 OPTIONS
Via: SIP/2.0/UDP 192.0.2.70;branch=z9hG4bK
l: 0
"""), also=["400"],
)

add(
    "insuf", "3.3.1", "Missing Required Header Fields", "400",
    "no Call-ID, From or To; with Via and CSeq an answer can be built",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
CSeq: 1931 INVITE
Via: SIP/2.0/UDP 192.0.2.71;branch=z9hG4bKins71
Content-Type: application/sdp
l: @LENGTH@
""", OFFER),
)

add(
    "unkscm", "3.3.2", "Request-URI with Unknown Scheme", "416",
    "a scheme nobody knows",
    sip(b"""
OPTIONS somethingNobodyHasSeen:opaque-content SIP/2.0
To: sip:desk@example.com
From: sip:caller@example.net;tag=sch3441
Max-Forwards: 3
Call-ID: unkscm.6cd0e9@192.0.2.72
CSeq: 3923 OPTIONS
Via: SIP/2.0/TCP host72.example.com:5060;branch=z9hG4bKsch72
Content-Length: 0
"""),
)

add(
    "novelsc", "3.3.3", "Request-URI with Known but Atypical Scheme", "416",
    "a registered scheme that is not sip, sips or tel",
    sip(b"""
OPTIONS soap.beep://192.0.2.173:3002 SIP/2.0
To: sip:desk@example.com
From: sip:caller@example.net;tag=sch3241
Max-Forwards: 70
Call-ID: novelsc.ad2f07@192.0.2.73
CSeq: 3924 OPTIONS
Via: SIP/2.0/TCP host73.example.com;branch=z9hG4bKsch73
Content-Length: 0
"""),
)

add(
    "unksm2", "3.3.4", "Unknown URI Schemes in Header Fields", "405",
    "To, From and Contact may hold any URI by the grammar; the method is refused before they matter",
    sip(b"""
REGISTER sip:example.com SIP/2.0
To: isbn:9780306406157
From: <http://www.example.com>;tag=sch3234
Max-Forwards: 70
Call-ID: unksm2.88de10@192.0.2.74
CSeq: 234 REGISTER
Via: SIP/2.0/UDP 192.0.2.74:5060;branch=z9hG4bKsch74
Contact: <name:Mary_Okafor>
l: 0
"""), also=["400"],
)

add(
    "bext01", "3.3.5", "Proxy-Require and Require", "420",
    "both tags of Require are unknown; Unsupported lists exactly those, Proxy-Require is not for us (SIP-014)",
    sip(b"""
OPTIONS sip:desk@example.com SIP/2.0
To: sip:m_okafor@example.com
From: sip:caller@example.net;tag=ext242
Max-Forwards: 5
Call-ID: bext01.0ed471@192.0.2.75
Require: tagOfNoOne, anotherTagOfNoOne
Proxy-Require: forProxiesOfNoOne, anotherForProxiesOfNoOne
CSeq: 8 OPTIONS
Via: SIP/2.0/TLS fold-and-staple.example.com;branch=z9hG4bKext75
Content-Length: 0
"""),
)

add(
    "invut", "3.3.6", "Unknown Content-Type", "415",
    "a body that is not SDP; Accept names what we take",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
Contact: <sip:caller@host76.example.net>
To: sip:m.okafor@example.com
From: sip:caller@example.net;tag=typ8392
Max-Forwards: 70
Call-ID: invut.1e7bb4@192.0.2.76
CSeq: 235448 INVITE
Via: SIP/2.0/UDP 192.0.2.76;branch=z9hG4bKtyp76
Content-Type: application/formatofnoone
Content-Length: @LENGTH@
""", b"<call>\r\n <port value=\"30200\"/>\r\n</call>\r\n"),
)

add(
    "regaut01", "3.3.7", "Unknown Authorization Scheme", "405",
    "credentials of a scheme we do not know are as good as none; the method is refused anyway",
    sip(b"""
REGISTER sip:example.com SIP/2.0
To: sip:m.okafor@example.com
From: sip:m.okafor@example.com;tag=aut8722
Max-Forwards: 70
Call-ID: regaut01.63ac01@192.0.2.77
CSeq: 9338 REGISTER
Via: SIP/2.0/TCP 192.0.2.77:5060;branch=z9hG4bKaut77
Authorization: SchemeOfNoOne odd-data=next-to-nothing, more=data
Content-Length: 0
"""),
)

add(
    "multi01", "3.3.8", "Multiple Values in Single Value Required Fields", "400",
    "two different Call-ID, CSeq, From, To and Max-Forwards: nobody can say which is meant",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
Contact: <sip:caller@host78.example.net>
Via: SIP/2.0/UDP 192.0.2.78;branch=z9hG4bKmul78
Max-Forwards: 70
CSeq: 5 INVITE
Call-ID: multi01.first@192.0.2.78
CSeq: 59 INVITE
Call-ID: multi01.second@192.0.2.79
From: sip:caller@example.com;tag=mul3413
To: sip:desk@example.com
To: sip:other@example.net
From: sip:caller@example.net;tag=mul2923
Content-Type: application/sdp
l: @LENGTH@
Contact: <sip:caller@host79.example.net>
Max-Forwards: 5
""", OFFER),
)

add(
    "mcl01", "3.3.9", "Multiple Content-Length Values", "400",
    "two Content-Length headers that disagree",
    sip(b"""
OPTIONS sip:desk@example.com SIP/2.0
Via: SIP/2.0/UDP host80.example.net;branch=z9hG4bKmcl80
To: sip:desk@example.com
From: sip:other@example.net;tag=mcl3310
Call-ID: mcl01.fe2200@192.0.2.80
Content-Length: 17
Max-Forwards: 70
Content-Length: 6
CSeq: 8 OPTIONS
Content-Type: text/plain
""", b"Where this body ends is not to be known.\r\n"),
)

add(
    "bcast", "3.3.10", "200 OK Response with Broadcast Via Header Field Value", "drop",
    "a response goes no further than us: the second Via, a broadcast address, is never sent to",
    sip(b"""
SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bKbca198
Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKbca255
Call-ID: bcast.41d09c@192.0.2.198
CSeq: 35 INVITE
From: sip:desk@example.com;tag=bca1114
To: sip:other@example.edu;tag=bca2229
Content-Length: @LENGTH@
Content-Type: application/sdp
Contact: <sip:desk@host198.example.com>
""", OFFER),
)

add(
    "zeromf", "3.3.11", "Max-Forwards of Zero", "200",
    "Max-Forwards stops forwarding, not answering",
    sip(b"""
OPTIONS sip:desk@example.com SIP/2.0
To: sip:desk@example.com
From: sip:caller@example.net;tag=zer3321
Call-ID: zeromf.2fd6b7@192.0.2.82
CSeq: 39234 OPTIONS
Via: SIP/2.0/UDP host82.example.com;branch=z9hG4bKzer82
Max-Forwards: 0
Content-Length: 0
"""),
)

add(
    "cparam01", "3.3.12", "REGISTER with a Contact Header Parameter", "405",
    "outside brackets the parameter is one of Contact; the method is refused",
    sip(b"""
REGISTER sip:example.com SIP/2.0
Via: SIP/2.0/UDP pbx83.example.com;branch=z9hG4bKcpa83
Max-Forwards: 70
From: sip:desk@example.com;tag=cpa5189
To: sip:desk@example.com
Call-ID: cparam01.7bc1d2@pbx83.example.com
CSeq: 79 REGISTER
Contact: sip:+912255500183@gw83.example.net;oddparam
Content-Length: 0
"""),
)

add(
    "cparam02", "3.3.13", "REGISTER with a url-parameter", "405",
    "inside brackets the parameter is one of the URI; the method is refused",
    sip(b"""
REGISTER sip:example.com SIP/2.0
Via: SIP/2.0/UDP pbx84.example.com;branch=z9hG4bKcpa84
Max-Forwards: 70
From: sip:desk@example.com;tag=cpa5184
To: sip:desk@example.com
Call-ID: cparam02.c02fd5@pbx84.example.com
CSeq: 80 REGISTER
Contact: <sip:+912255500184@gw84.example.net;oddparam>
Content-Length: 0
"""),
)

add(
    "regescrt", "3.3.14", "REGISTER with a URL Escaped Header", "405",
    "escaped headers are legal in a bracketed Contact; the method is refused",
    sip(b"""
REGISTER sip:example.com SIP/2.0
To: sip:desk@example.com
From: sip:desk@example.com;tag=rge8085
Max-Forwards: 70
Call-ID: regescrt.1cbe90@192.0.2.85
CSeq: 14398 REGISTER
Via: SIP/2.0/UDP host85.example.com;branch=z9hG4bKrge85
M: <sip:desk@example.com?Route=%3Csip:edge.example.com%3E>
L:0
"""),
)

add(
    "sdp01", "3.3.15", "Unacceptable Accept Offering", "invite",
    "a peer that offers SDP can read an SDP answer, whatever its Accept forgets to list; a lost call would help nobody",
    sip(b"""
INVITE sip:desk@example.com SIP/2.0
To: sip:m_okafor@example.com
Contact: <sip:caller@host86.example.net>
From: sip:caller@example.net;tag=acc2342
Max-Forwards: 5
Call-ID: sdp01.d90f13@192.0.2.86
Accept: text/formatofnoone
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.86;branch=z9hG4bKacc86
Content-Length: @LENGTH@
Content-Type: application/sdp
""", OFFER), also=["406"],
)

add(
    "inv2543", "3.4.1", "INVITE with RFC 2543 Syntax", "invite",
    "no branch, no From tag, no Max-Forwards, no Contact and no Content-Length: all legal then, all served now",
    sip(b"""
INVITE sip:DeskB@example.com SIP/2.0
Via: SIP/2.0/UDP gateway87.example.com
From: <sip:+912255500187@old.example.net;user=phone>
Record-Route: <sip:DeskB@example.com;maddr=proxy87.example.com>
To: sip:+912255500287@proxy87.example.net;user=phone
Call-ID: inv2543.1717aa@old.example.com
CSeq: 56 INVITE
Content-Type: application/sdp
""", OFFER),
)

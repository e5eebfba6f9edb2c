"""RFC 4475 section 3.1.1: unusual but valid messages."""

from torture import OFFER, add, sip

add(
    "wsinv", "3.1.1.1", "A Short Tortuous INVITE", "invite",
    "white space, folding, odd case, compact names, unknown headers and parameters are all legal; the top Via without the "
    "cookie only means matching by RFC 2543 rules",
    sip(b"""
INVITE sip:helpdesk@pbx.example.com;unknownparam SIP/2.0
tO :
 sip:helpdesk@pbx.example.com ;   unknown    = value7
fRoM   : "M \\\\\\" Okafor"       <sip:okafor@example.com>
  ;
  tag = 7hq20a
mAx-FoRwArDs: 0070
Call-ID: wsinv.5f1e0b7c@192.0.2.31
Content-Length   : @LENGTH@
cSEQ: 00041
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.31;branch=7715nocookie
s :
BrandNewHeader:   first part
 second part after the fold
ValueOfNothingButSeparators: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:edge.example.com;lr;odd=value;odd-without-value>
v:  SIP  / 2.0  / TCP     relay.example.com   ;
  branch  =   z9hG4bK61f0a  ,
 SIP  /    2.0   / UDP  192.0.2.77   ; branch=
 z9hG4bK88ac2
m:"A quoted name \\"\\"" <sip:okafor@example.com> ; novelparam =
      novelvalue ;
  another ; q = 0.25
""", OFFER),
)

add(
    "intmeth", "3.1.1.2", "Wide Range of Valid Characters", "501",
    "every character is allowed where it stands, control bytes in quoted-pairs included, and the method is unknown",
    sip(b"""
!odd-Method9876543210_*+`.%indeed'~ sip:2_odd.user~(can-be!so)&is+it$/wild?,/;;*:&so+it=1,is!*the$pass~d_word.(isn't-it)@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.32:5060;branch=z9hG4bK-.!%77*_+`'~
To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:2_odd.URI~(can-be!so)&is+it$/wild?,/;;*@example.com>
From: word1~` word2'+_ word3*%!.- <sip:plain@example.com>;headerParam''~+*_!.-%="\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82";tag=_word~2'+`*%!-.
Call-ID: intmeth.w%ZZ-!.*_+'`~()<>:\\/"][?}{
CSeq: 77120934 !odd-Method9876543210_*+`.%indeed'~
Max-Forwards: 255
unusual-Header!-.%*+_`'~:\xef\xbb\xbf\xe9\x9b\xbb\xe8\xa9\xb1
Content-Length: 0
"""),
)

add(
    "esc01", "3.1.1.3", "Valid Use of the % Escaping Mechanism", "invite",
    "escapes in user parts and parameters are legal; the user of the Request-URI is the text sips:desk@example.com",
    sip(b"""
INVITE sip:sips%3Adesk%40example.com@example.net SIP/2.0
To: sip:%64esk%73@example.com
From: <sip:A%20name%20with%20spaces@example.net>;tag=esc-5501
Max-Forwards: 87
i: esc01.90210c1d@192.0.2.33
CSeq: 2340 INVITE
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKesc5501
C: application/sdp
Contact:
  <sip:c%61ll%65r@host5.example.net;%6C%72;k%65y=v%61l%25%34%31>
Content-Length: @LENGTH@
""", OFFER),
)

add(
    "escnull", "3.1.1.4", "Escaped Nulls in URIs", "400",
    "legal by the grammar, but a NUL in To or From is never a number: we refuse %00 (SIP-011) before looking at the method",
    sip(b"""
REGISTER sip:example.com SIP/2.0
To: sip:zero-%00-byte@example.com
From: sip:zero-%00-byte@example.com;tag=esc00117
Max-Forwards: 70
Call-ID: escnull.40c2d6@192.0.2.34
CSeq: 140 REGISTER
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bKesc00117
Contact: <sip:%00@host5.example.com>
Contact: <sip:%00%00@host5.example.com>
L:0
"""), also=["405"],
)

add(
    "esc02", "3.1.1.5", "Use of % When It Is Not an Escape", "501",
    "outside URIs % is an ordinary token character: the method is not REGISTER and unknown",
    sip(b"""
RE%47IST%45R sip:registrar.example.com SIP/2.0
To: "%Q%45" <sip:desk@example.com>
From: "%Q%45" <sip:desk@example.com>;tag=k2m9v1
Max-Forwards: 70
Call-ID: esc02.27bd91@192.0.2.35
CSeq: 41 RE%47IST%45R
Via: SIP/2.0/UDP 192.0.2.35;branch=z9hG4bKpct91
Contact: <sip:desk-a@host1.example.com>
Contact: <sip:desk-b@host2.example.com>
Contact: "%Q%45" <sip:desk-c@host3.example.com>
l: 0
"""),
)

add(
    "lwsdisp", "3.1.1.6", "Message with No LWS between Display Name and <", "200",
    "the white space before < is optional",
    sip(b"""
OPTIONS sip:desk@example.com SIP/2.0
To: sip:desk@example.com
From: operator<sip:operator@example.com>;tag=523
Max-Forwards: 70
Call-ID: lwsdisp.7d10fe@operator.example.com
CSeq: 61 OPTIONS
Via: SIP/2.0/UDP 192.0.2.36;branch=z9hG4bKnolws6
l: 0
"""),
)

VIA_NAMES = [b"Via", b"v", b"V", b"VIA", b"viA", b"vIa", b"V ", b"v  ", b"Via   "]

add(
    "longreq", "3.1.1.7", "Long Values in Header Fields", "invite",
    "length alone is no fault, and a top Via without a branch is RFC 2543 style",
    sip(
        b"INVITE sip:desk@example.com SIP/2.0\n"
        b'To: "The desk with the ' + b"quite" * 40 + b' long name"<sip:desk@example.com:6000;odd1=' + b"lengthy" * 30 + b"value;"
        + b"oddname" * 30 + b"=short;" + b"noValueAtAll" * 20 + b">\n"
        b"F: sip:" + b"anuncommonlylongname" * 6 + b"@example.net;tag=" + b"5150" * 50 + b"24;" + b"oddheaderparam" * 12 + b"="
        + b"oddvalue" * 16 + b";" + b"valuelessparam" * 10 + b"\n"
        b"Call-ID: longreq." + b"very" * 40 + b"longcallid\n"
        b"CSeq: 4120077 INVITE\n"
        b"Odd-" + b"Long" * 25 + b"-Name: odd-" + b"long" * 30 + b"-value; odd-" + b"long" * 25 + b"-name = odd-" + b"long" * 25 + b"-value\n"
        + b"".join(VIA_NAMES[hop % 9] + b": SIP/2.0/TCP hop%d.example.com\n" % (34 - hop) for hop in range(34))
        + b"Via: SIP/2.0/TCP hop0.example.com;received=192.0.2.2;branch=vwxyz" + b"0123456789" * 20 + b"\n"
        b"Max-Forwards: 70\n"
        b"Contact: <sip:" + b"anuncommonlylongname" * 6 + b"@host5.example.net>\n"
        b"Content-Type: application/sdp\n"
        b"l: @LENGTH@",
        OFFER,
    ),
)

add(
    "dblreq", "3.1.1.8", "Extra Trailing Octets in a UDP Datagram", "405",
    "the REGISTER ends at its Content-Length of 0; the INVITE behind it is discarded, so this is the only answer",
    sip(b"""
REGISTER sip:example.com SIP/2.0
To: sip:k.moss@example.com
From: sip:k.moss@example.com;tag=dbl6621
Max-Forwards: 8
Call-ID: dblreq.0fa7c3@192.0.2.38
CSeq: 8 REGISTER
Via: SIP/2.0/UDP 192.0.2.38;branch=z9hG4bKdbl9a1
Contact: <sip:k.moss@192.0.2.38>
Content-Length: 0
""")
    + sip(b"""
INVITE sip:lee@example.com SIP/2.0
t: sip:lee@example.com
From: sip:k.moss@example.com;tag=dbl3141
Max-Forwards: 70
Call-ID: dblreq.second.77ab@192.0.2.38
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.38;branch=z9hG4bKdbl9a2
Contact: <sip:k.moss@192.0.2.38>
Content-Type: application/sdp
Content-Length: @LENGTH@
""", OFFER),
)

add(
    "semiuri", "3.1.1.9", "Semicolon-Separated Parameters in URI User Part", "200",
    "the semicolons belong to the user part; there is no URI parameter",
    sip(b"""
OPTIONS sip:desk;ext=q%40example.net@example.com SIP/2.0
To: sip:m_okafor@example.com
From: sip:caller@example.org;tag=41semi
Max-Forwards: 3
Call-ID: semiuri.1199ce@example.com
CSeq: 9 OPTIONS
Accept: application/sdp, application/pkcs7-mime,
        multipart/mixed, multipart/signed,
        message/sip, message/sipfrag
Via: SIP/2.0/UDP 192.0.2.39;branch=z9hG4bKsemi40
l: 0
"""),
)

add(
    "transports", "3.1.1.10", "Varied and Unknown Transport Types", "200",
    "Via names any transport; only the top one concerns us",
    sip(b"""
OPTIONS sip:desk@example.com SIP/2.0
To: sip:desk@example.com
From: <sip:caller@example.com>;tag=t9001
Max-Forwards: 70
Call-ID: transports.c3b1d2@example.com
Accept: application/sdp
CSeq: 61 OPTIONS
Via: SIP/2.0/UDP h1.example.com;branch=z9hG4bKtr0a
Via: SIP/2.0/SCTP h2.example.com;branch=z9hG4bKtr0b
Via: SIP/2.0/TLS h3.example.com;branch=z9hG4bKtr0c
Via: SIP/2.0/NOVELTY h4.example.com;branch=z9hG4bKtr0d
Via: SIP/2.0/TCP h5.example.com;branch=z9hG4bKtr0e
l: 0
"""),
)

BINARY_PART = bytes(range(256)) + b"\r\n\r\n--not-the-boundary\r\n" + bytes(range(255, -1, -1))
PARTS = (
    b"--5b2e90dd17\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nGood day\r\n"
    b"--5b2e90dd17\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    + BINARY_PART
    + b"\r\n--5b2e90dd17--\r\n"
)

add(
    "mpart01", "3.1.1.11", "Multipart MIME Message", "405",
    "binary parts, NUL bytes included, are legal; MESSAGE is a known method we do not serve",
    sip(b"""
MESSAGE sip:moss@example.org SIP/2.0
Via: SIP/2.0/UDP 192.0.2.41:5070;branch=z9hG4bK-mp-6e10;rport
Max-Forwards: 70
Route: <sip:192.0.2.42:5080>
Contact: <sip:okafor@192.0.2.41:5070>
To: <sip:moss@example.org>
From: <sip:okafor@example.com>;tag=mp7201
Call-ID: mpart01.d41d8c@192.0.2.41
CSeq: 1 MESSAGE
Content-Transfer-Encoding: binary
Content-Type: multipart/mixed;boundary=5b2e90dd17
Date: Sat, 06 Jun 2026 09:12:33 GMT
User-Agent: fixture
Content-Length: @LENGTH@
""", PARTS),
)

add(
    "unreason", "3.1.1.12", "Unusual Reason Phrase", "drop",
    "the phrase may hold any UTF-8 and separators; the response matches no request of ours",
    sip(b"""
SIP/2.0 200 = 4**2 * 12.5 \xd0\xbd\xd0\xbe \xd0\xbd\xd0\xb5 199; \xe5\xa5\xbd
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bKphrase19
Call-ID: unreason.80ab44@192.0.2.198
CSeq: 35 INVITE
From: sip:desk@example.com;tag=phr4411
To: sip:other@example.org;tag=phr2299
Content-Length: @LENGTH@
Content-Type: application/sdp
Contact: <sip:desk@host198.example.com>
""", OFFER),
)

add(
    "noreason", "3.1.1.13", "Empty Reason Phrase", "drop",
    "the phrase may be empty; the response matches no request of ours",
    sip(b"""
SIP/2.0 100\x20
Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bKempty105
Call-ID: noreason.3c9f10@192.0.2.105
CSeq: 35 INVITE
From: <sip:desk@example.com>;tag=emp3939
To: <sip:other@example.org>
Content-Length: 0
"""),
)

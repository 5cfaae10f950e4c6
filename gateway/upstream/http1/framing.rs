//! Where an answer's body ends (RFC 9112 6.3), and whether its connection stays (9.3).
//!
//! What must stay true here: an answer whose end two readers might see in two places is refused.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode, Version};

use super::Malformed;
use super::decode::Decoder;
use super::parse::Head;

/// How the body behind a head is read.
pub fn of_answer(method: &Method, head: &Head) -> Result<Decoder, Malformed> {
    let length = length(&head.headers)?;
    let chunked = head.hop_by_hop.coding.is_chunked(length.is_some())?;
    if chunked && head.version != Version::HTTP_11 {
        return Err(Malformed("HTTP/1.0 knows no Transfer-Encoding"));
    }
    let bodiless = head.status.is_informational() || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match length {
        _ if bodiless || *method == Method::HEAD => Decoder::of_length(0),
        _ if chunked => Decoder::chunked(),
        Some(length) => Decoder::of_length(length),
        None => Decoder::until_close(),
    })
}

/// Whether the upstream lets the connection serve another request.
pub fn keeps_alive(head: &Head) -> bool {
    let hop_by_hop = &head.hop_by_hop;
    !hop_by_hop.closes && (head.version == Version::HTTP_11 || hop_by_hop.keeps_alive)
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let told = digits(value.as_bytes()).ok_or(Malformed("Content-Length is no number"))?;
        if length.is_some_and(|length| length != told) {
            return Err(Malformed("two lengths that differ"));
        }
        length = Some(told);
    }
    Ok(length)
}

/// A number of digits alone: `parse` would take a sign.
pub fn digits(text: &[u8]) -> Option<u64> {
    let number = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    text.iter().try_fold(0, number).filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::field_names::FieldNames;
    use super::super::parse;
    use super::*;

    fn head(line: &str, fields: &[&str]) -> Head {
        let wire = [&[line], fields, &["", ""]].concat().join("\r\n");
        parse::head(&mut BytesMut::from(wire.as_bytes()), &mut FieldNames::default(), &mut HeaderMap::new())
            .expect("it is HTTP")
            .expect("it is whole")
    }

    fn read(fields: &[&str]) -> Result<Decoder, Malformed> {
        of_answer(&Method::GET, &head("HTTP/1.1 200 OK", fields))
    }

    #[test]
    fn a_body_ends_where_one_rule_says() {
        assert_eq!(read(&["Content-Length: 3"]), Ok(Decoder::of_length(3)));
        assert_eq!(read(&["Content-Length: 3", "Content-Length: 3"]), Ok(Decoder::of_length(3)));
        assert_eq!(read(&["Transfer-Encoding: Chunked"]), Ok(Decoder::chunked()));
        assert_eq!(read(&[]), Ok(Decoder::until_close()));
    }

    #[test]
    fn what_has_no_body_has_none_whatever_it_says() {
        for (method, line) in [
            (Method::HEAD, "HTTP/1.1 200 OK"),
            (Method::GET, "HTTP/1.1 204 No Content"),
            (Method::GET, "HTTP/1.1 304 Not Modified"),
            (Method::GET, "HTTP/1.1 101 Switching Protocols"),
        ] {
            for field in ["Content-Length: 3", "Transfer-Encoding: chunked", "A: b"] {
                assert_eq!(of_answer(&method, &head(line, &[field])), Ok(Decoder::of_length(0)), "{line} {field}");
            }
        }
    }

    #[test]
    fn what_might_end_in_two_places_is_refused() {
        for fields in [
            &["Content-Length: 3", "Content-Length: 4"][..],
            &["Content-Length: 3, 3"],
            &["Content-Length: +3"],
            &["Content-Length: -3"],
            &["Content-Length: 0x3"],
            &["Content-Length:"],
            &["Content-Length: 18446744073709551616"],
            &["Content-Length: 3", "Transfer-Encoding: chunked"],
            &["Transfer-Encoding: gzip, chunked"],
            &["Transfer-Encoding: chunked, chunked"],
            &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
            &["Transfer-Encoding: identity"],
        ] {
            assert!(read(fields).is_err(), "{fields:?}");
        }
        assert!(of_answer(&Method::GET, &head("HTTP/1.0 200 OK", &["Transfer-Encoding: chunked"])).is_err());
    }

    #[test]
    fn a_connection_stays_only_where_the_upstream_lets_it() {
        for (line, fields, stays) in [
            ("HTTP/1.1 200 OK", &[][..], true),
            ("HTTP/1.1 200 OK", &["Connection: x, Close"], false),
            ("HTTP/1.1 200 OK", &["Connection: keep-alive", "Connection: close"], false),
            ("HTTP/1.0 200 OK", &[], false),
            ("HTTP/1.0 200 OK", &["Connection: Keep-Alive"], true),
        ] {
            assert_eq!(keeps_alive(&head(line, fields)), stays, "{line} {fields:?}");
        }
    }
}

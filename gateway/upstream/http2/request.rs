//! The head of a request, from what HTTP/1 would send: written once, it says the same over both.

use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use crate::upstream::http1::Malformed;

/// Reads a head that the gateway has written itself. `Host` becomes the authority; what frames a message of HTTP/1 or belongs
/// to its connection is left out.
pub fn read(head: &[u8], method: &Method, scheme: &Scheme) -> Result<Request<()>, Malformed> {
    const BAD: Malformed = Malformed("the request cannot be said in HTTP/2");
    let head = Bytes::copy_from_slice(head);
    let mut lines = head.split(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
    let target = lines.next().and_then(|line| line.split(|&byte| byte == b' ').nth(1)).ok_or(BAD)?;
    let (mut headers, mut authority) = (HeaderMap::new(), None);
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(BAD)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| BAD)?;
        let value = head.slice_ref(line[colon + 1..].trim_ascii_start());
        match name {
            HOST => authority = Some(Authority::from_maybe_shared(value).map_err(|_| BAD)?),
            CONNECTION | UPGRADE | TRANSFER_ENCODING => {}
            name => {
                headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| BAD)?);
            }
        }
    }
    let target = PathAndQuery::from_maybe_shared(head.slice_ref(target)).map_err(|_| BAD)?;
    let uri = Uri::builder().scheme(scheme.clone()).authority(authority.ok_or(BAD)?).path_and_query(target);
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.build().map_err(|_| BAD)?;
    *request.headers_mut() = headers;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Request<()> {
        read(head.as_bytes(), &Method::PUT, &Scheme::HTTPS).expect("a head")
    }

    #[test]
    fn a_head_says_the_same_as_over_http1() {
        let request = of("PUT /a%2Fb?c=d HTTP/1.1\r\nhost: a.example:1\r\nx: 1\r\nx:  2\r\nempty: \r\ncontent-length: 3\r\n\r\n");
        assert_eq!((request.method(), &request.uri().to_string()[..]), (&Method::PUT, "https://a.example:1/a%2Fb?c=d"));
        let headers = request.headers();
        assert_eq!(headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((&headers["empty"], &headers["content-length"]), (&HeaderValue::from_static(""), &HeaderValue::from(3)));
        assert!(!headers.contains_key(HOST));
    }

    #[test]
    fn every_host_and_target_that_is_let_in_can_be_said() {
        for host in ["a", "a_b~c.example.", "127.0.0.1:80", "[::1]", "[::1]:8080", "localhost:"] {
            let request = of(&format!("PUT / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
            assert_eq!(request.uri().authority().map(Authority::as_str), Some(host));
        }
        for target in ["/", "/?", "/?q", "*", "/a;b=c//d/../e"] {
            let request = of(&format!("PUT {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
            assert_eq!(request.uri().path_and_query().map(PathAndQuery::as_str), Some(target));
        }
    }

    #[test]
    fn what_belongs_to_http1_is_left_out() {
        let lines = "connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\nte: trailers\r\n";
        let request = of(&format!("PUT / HTTP/1.1\r\nhost: a\r\n{lines}\r\n"));
        assert_eq!(request.headers().keys().collect::<Vec<_>>(), ["te"]);
    }
}

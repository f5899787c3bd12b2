//! The live page, which `build.rs` packs from the files in `src/control/page/`. It has no data: its script asks the API.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::request::Request;

/// The page as one file, in gzip's format.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/page.gz"));
/// What a browser lets the page do: run its own script and ask this listener.
const POLICY: &str = include_str!(concat!(env!("OUT_DIR"), "/page.policy"));
/// Bytes of the page before it was packed.
const LENGTH: &str = include_str!(concat!(env!("OUT_DIR"), "/page.length"));
/// Bytes of gzip's header and of its trailer.
const HEAD: usize = 10;
const TAIL: usize = 8;

/// The page as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Headers; no name comes twice.
    pub headers: Vec<(&'static str, String)>,
    /// HTML, compressed if `content-encoding` says so.
    pub body: std::borrow::Cow<'static, [u8]>,
}

impl Page {
    /// The page as a client takes it.
    pub(super) fn to(request: &Request) -> Self {
        let mut headers: Vec<(&'static str, String)> = [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("content-security-policy", POLICY),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("vary", "accept-encoding"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into();
        // A client that takes no gzip is served by hand: what cannot be unpacked is sent as it is packed.
        if !request.takes_gzip()
            && let Some(body) = unpacked()
        {
            return Self { headers, body: body.into() };
        }
        headers.push(("content-encoding", "gzip".to_owned()));
        Self { headers, body: PACKED.into() }
    }
}

fn unpacked() -> Option<Vec<u8>> {
    let mut page = vec![0; LENGTH.parse().ok()?];
    let deflated = PACKED.get(HEAD..PACKED.len().checked_sub(TAIL)?)?;
    let (status, _, written) = decompress(
        &mut DecompressorOxide::default(),
        deflated,
        &mut page,
        0,
        TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
    );
    (status == TINFLStatus::Done && written == page.len()).then_some(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::catalog;

    fn page(accept_encoding: Option<&str>) -> Page {
        let accept_encoding = accept_encoding.map(|value| value.as_bytes().to_vec());
        Page::to(&Request { accept_encoding, ..Request::default() })
    }

    fn header<'a>(page: &'a Page, name: &str) -> Option<&'a str> {
        page.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn text() -> String {
        String::from_utf8(page(None).body.into_owned()).expect("UTF-8")
    }

    #[test]
    fn a_client_gets_the_page_as_it_takes_it() {
        for packed in ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "br, *;q=0.1"] {
            let page = page(Some(packed));
            assert_eq!(header(&page, "content-encoding"), Some("gzip"), "{packed}");
            assert!(page.body.starts_with(&[0x1f, 0x8b, 8]) && page.body.len() < 60_000);
        }
        for plain in
            [None, Some(""), Some("br"), Some("gzip;q=0"), Some("gzip; q=0.0"), Some("xgzip, identity")]
        {
            let page = page(plain);
            assert_eq!(header(&page, "content-encoding"), None, "{plain:?}");
            assert!(
                page.body.starts_with(b"<!doctype html>") && page.body.trim_ascii_end().ends_with(b"</html>")
            );
        }
    }

    #[test]
    fn unpacking_returns_what_was_packed() {
        let (html, length) = (text(), PACKED.len());
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        assert_eq!(number(&PACKED[length - 4..]) as usize, html.len());
        let crc = !html.bytes().fold(u32::MAX, |crc, byte| {
            (0..8).fold(
                crc ^ u32::from(byte),
                |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
            )
        });
        assert_eq!(number(&PACKED[length - 8..length - 4]), crc);
    }

    /// The policy allows the script and the style by their hashes, and nothing else.
    #[test]
    fn the_policy_allows_what_the_page_has_and_nothing_else() {
        use base64::Engine as _;
        let html = text();
        let inside = |open: &str, close: &str| {
            assert_eq!(html.matches(open).count(), 1, "{open}");
            let (_, rest) = html.split_once(open).expect("it opens");
            let part = rest.split_once(close).expect("it ends").0;
            let digest = hmac_sha256::Hash::hash(part.as_bytes());
            format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(digest))
        };
        let page = page(None);
        let policy = header(&page, "content-security-policy").expect("a policy");
        assert!(policy.contains(&format!("script-src {};", inside("<script type=\"module\">", "</script>"))));
        assert!(policy.contains(&format!("style-src {};", inside("<style>", "</style>"))));
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    }

    /// Nothing that could read text as markup, run it, keep a token, or ask another host.
    #[test]
    fn the_page_holds_nothing_that_it_must_not() {
        let html = text();
        for never in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
            "srcdoc",
            "localStorage",
            "sessionStorage",
            "indexedDB",
            "document.cookie",
            "https://",
            "import(",
            " style=\"",
            "onclick=",
        ] {
            assert!(!html.contains(never), "{never}");
        }
        // Names of namespaces are no requests.
        let addresses: Vec<&str> =
            html.match_indices("http://").map(|(at, _)| &html[at..(at + 18).min(html.len())]).collect();
        assert!(addresses.iter().all(|address| address.starts_with("http://www.w3.org/")), "{addresses:?}");
    }

    /// A signal without a word is shown by its name: see the scene `answers` of tests/page/page.py.
    #[test]
    fn the_page_has_words_for_signals_of_the_catalogue_only() {
        let html = text();
        let (_, words) = html.split_once("const NAMES = {").expect("the words");
        let (words, _) = words.split_once("};").expect("their end");
        let named: Vec<&str> = words.split('"').skip(1).step_by(4).collect();
        assert!(named.len() > 10, "{named:?}");
        for name in named {
            assert!(catalog::ALL.iter().any(|signal| signal.name == name), "{name} in script/2-words.js");
        }
    }
}

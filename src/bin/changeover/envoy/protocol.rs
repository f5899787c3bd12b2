//! Which protocol Envoy speaks to a cluster.

use super::Node;

/// The extension of a cluster that says so.
pub(crate) const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The field of HTTP/2's options; clusters of old configurations have it themselves.
const HTTP2: &str = "http2_protocol_options";
/// The field of HTTP/3's, whose streams share a connection as well.
const HTTP3: &str = "http3_protocol_options";
/// How many requests Envoy sends over one connection at once.
pub(crate) const STREAMS: &str = "max_concurrent_streams";

/// Whether Envoy speaks HTTP/1.1 to a cluster, in which each request has a connection of its own.
pub(crate) fn is_http1(cluster: &Node<'_>) -> bool {
    let is_said = options(cluster).is_none_or(|options| match options.field("explicit_http_config") {
        Some(explicit) => explicit.field("http_protocol_options").is_some(),
        None => {
            ["auto_config", "use_downstream_protocol_config"].iter().all(|kind| options.field(kind).is_none())
        }
    });
    is_said && cluster.field(HTTP2).is_none()
}

/// Whether requests to a cluster may be under way on one connection at the same time.
pub(crate) fn shares_connections(cluster: &Node<'_>) -> bool {
    if is_http1(cluster) || has_one_request_each(cluster) {
        return false;
    }
    let of_kind = |kind| options(cluster)?.field(kind);
    let downstream = of_kind("use_downstream_protocol_config");
    let places =
        [Some(cluster.clone()), of_kind("explicit_http_config"), of_kind("auto_config"), downstream.clone()];
    let field = |name| places.iter().flatten().find_map(|place| place.field(name));
    match (field(HTTP2), field(HTTP3)) {
        (Some(http2), None) => http2.number(STREAMS) != Some(1),
        (_, Some(_)) => true,
        // HTTP/2 where the server chooses it; a client's protocol only where it is named.
        (None, None) => downstream.is_none(),
    }
}

/// Whether each connection ends after one request.
fn has_one_request_each(cluster: &Node<'_>) -> bool {
    let common = options(cluster).and_then(|options| options.field("common_http_protocol_options"));
    let places = [Some(cluster.clone()), cluster.field("common_http_protocol_options"), common];
    places.into_iter().flatten().any(|place| place.number("max_requests_per_connection") == Some(1))
}

fn options<'a>(cluster: &Node<'a>) -> Option<Node<'a>> {
    cluster.at(&["typed_extension_protocol_options", OPTIONS])
}

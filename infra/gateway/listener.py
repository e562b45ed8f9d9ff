"""The public listener: how requests are read, bounded, refused, passed on and logged."""

from typing import Any

from infra.gateway import jwt_rules, problems
from infra.gateway.clusters import address

Json = dict[str, Any]

# gunicorn takes 8190 bytes of one header and 100 headers, and Envoy adds some of its own: bounded
# below that, it is the gateway that says what is too much, and a function never has to.
HEADERS_MAX_KB = 8
HEADERS_MAX = 80
# The longest route, a sweep, may take 180 s; a stream is silent that long and no longer.
STREAM_IDLE_TIMEOUT = "200s"
STREAM_MAX_DURATION = "300s"

_TYPES = "type.googleapis.com/envoy.extensions"


def listener(listen: tuple[str, int], gate: Json, table: Json) -> Json:
    """Return the listener for the filter that lets in and the table of routes."""
    manager = _typed(
        "http",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        _reading() | _bounds() | _answering(gate, table),
    )
    return {
        "name": "api",
        "address": address(listen),
        # Else a forgotten second Envoy would take half of the connections in silence.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": problems.BODY_MAX_BYTES,
        "filter_chains": [{"filters": [manager]}],
    }


def _typed(name: str, type_name: str, config: Json) -> Json:
    return {"name": name, "typed_config": {"@type": f"{_TYPES}.{type_name}"} | config}


def _reading() -> Json:
    """Return how a request is understood: nothing that a client says about itself is believed."""
    return {
        # HTTP/1 alone: no client of ours speaks HTTP/2, and what ends TLS in front speaks HTTP/1 to
        # what is behind it. So resets, CONTINUATION and HPACK are games that nobody can play here.
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "early_header_mutation_extensions": [_forget_client_headers()],
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "generate_request_id": True,
        # A client's own id leads through all logs, wherever it calls from.
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "http_protocol_options": {
            "accept_http_10": False,
            # No other protocol is spoken; RFC 9110, 7.8 lets the offer be passed over.
            "ignore_http_11_upgrade": [{"safe_regex": {"regex": ".*"}}],
        },
    }


def _forget_client_headers() -> Json:
    """Return what removes, before anything reads them, the headers that only a proxy may set."""
    forged = [{"prefix": "x-envoy-"}, {"prefix": "x-forwarded-"}, {"exact": "forwarded"}]
    mutations = [{"remove_on_match": {"key_matcher": it}} for it in forged]
    return _typed(
        "forget-client-headers",
        "http.early_header_mutation.header_mutation.v3.HeaderMutation",
        {"mutations": mutations},
    )


def _bounds() -> Json:
    return {
        "max_request_headers_kb": HEADERS_MAX_KB,
        "request_headers_timeout": "10s",
        "request_timeout": "30s",
        "stream_idle_timeout": STREAM_IDLE_TIMEOUT,
        "common_http_protocol_options": {
            "idle_timeout": "60s",
            "max_headers_count": HEADERS_MAX,
            "max_stream_duration": STREAM_MAX_DURATION,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
    }


def _answering(gate: Json, table: Json) -> Json:
    body = {"max_request_bytes": problems.BODY_MAX_BYTES}
    return {
        "stat_prefix": "api",
        "server_header_transformation": "PASS_THROUGH",
        "local_reply_config": problems.local_replies(),
        "access_log": [_access_log()],
        "route_config": table,
        "http_filters": [
            gate,
            _typed("body", "filters.http.buffer.v3.Buffer", body),
            _typed("router", "filters.http.router.v3.Router", {"suppress_envoy_headers": True}),
        ],
    }


def _access_log() -> Json:
    """Return the line of each request: never a query, a header or a token, which hold secrets."""
    fields = {
        "event": "access",
        "time": "%START_TIME%",
        "request_id": problems.REQUEST_ID,
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ):1000%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "function": "%UPSTREAM_CLUSTER%",
        "upstream": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "sub": f"%DYNAMIC_METADATA({jwt_rules.NAMESPACE}:{jwt_rules.CLAIMS}:sub)%",
    }
    return _typed(
        "stdout",
        "access_loggers.stream.v3.StdoutAccessLog",
        {"log_format": {"json_format": fields}},
    )

# The filter as an OCI image in the form that Istio and Envoy Gateway fetch: nothing but /plugin.wasm.
# `make image` builds it.
FROM scratch
COPY target/changeover.wasm /plugin.wasm

# Build:  docker build -t trunkstream .
# Run:    docker run --network host --stop-timeout 660 -v ./my.toml:/etc/trunkstream/trunkstream.toml:ro trunkstream
# No engine was at hand when this was written. Its steps were run by hand: the build on Debian 12 with Rust 1.95, the second
# stage in a debootstrap root of bookworm; there a SIPp call and the health check passed, and the check fails once it is down.
# The host's network, because RTP takes thousands of ports and SDP names the addresses of the host.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libopus-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin trunkstream

FROM debian:bookworm-slim
# The system's certificate authorities: bots behind wss.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libopus0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10000 --no-create-home --shell /usr/sbin/nologin trunkstream
COPY --from=build /src/target/release/trunkstream /usr/local/bin/trunkstream
COPY config/trunkstream.toml /etc/trunkstream/trunkstream.toml
COPY config/reference.toml /usr/share/doc/trunkstream/reference.toml
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/trunkstream/
USER trunkstream
# SIP and RTP as in config/trunkstream.toml; the admin listener stays private.
EXPOSE 5060/udp 5060/tcp 5061/tcp 10000-29999/udp
# TRUNKSTREAM_ADMIN is `admin.listen` of the configuration. Bash opens the connection: the image has no curl.
ENV TRUNKSTREAM_ADMIN=127.0.0.1:9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["bash", "-c", "exec 3<>\"/dev/tcp/${TRUNKSTREAM_ADMIN%:*}/${TRUNKSTREAM_ADMIN##*:}\" && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.1 200' <&3"]
# SIGTERM drains: live calls finish, so give it more than limits.drain_timeout_seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["trunkstream"]
CMD ["serve", "--config", "/etc/trunkstream/trunkstream.toml"]

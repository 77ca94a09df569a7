# Builds Tandem and puts it on a plain Debian. Docker is not needed to use Tandem: see README.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        cmake libpocketsphinx-dev libsphinxbase-dev pkg-config pocketsphinx-en-us \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /tandem
COPY . .
RUN cargo build --release --locked --workspace --bins

# The simulators of the providers, for the profile of that name in docker-compose.yml.
FROM debian:12-slim AS simulators
COPY --from=build /tandem/target/release/simulators /usr/local/bin/
ENTRYPOINT ["simulators"]

FROM debian:12-slim AS server
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates libpocketsphinx3 libsphinxbase3 pocketsphinx-en-us \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/tandem --create-home tandem
COPY --from=build /tandem/target/release/tandem /usr/local/bin/
USER tandem
WORKDIR /var/lib/tandem
VOLUME /var/lib/tandem
EXPOSE 5060/udp 5060/tcp 8080/tcp
# SIGTERM ends calls decently within server.drain_seconds; give `docker stop` longer than that.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tandem"]
CMD ["serve", "--data-dir", "/var/lib/tandem"]

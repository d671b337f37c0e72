# syntax=docker/dockerfile:1

# One image for each service, and one for the `rollcall` command (SERVICE=cli):
#
#   docker build --build-arg SERVICE=user --tag rollcall/user .
#
# All stages before `pick` are the same for every image, so they are built once and shared.

FROM rust:1.95-slim-bookworm AS chef
# librdkafka is C and C++. It is built with its own configure and make, and linked with the system's zlib.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
RUN cargo install cargo-chef --version 0.1.78 --locked
WORKDIR /src

# The recipe describes the dependencies of the workspace. It changes only when a manifest changes.
FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

# The dependencies, in a layer that is reused until the recipe changes.
FROM chef AS cook
COPY --from=planner /src/recipe.json recipe.json
RUN cargo chef cook --release --locked --workspace --bins --recipe-path recipe.json

FROM cook AS build
COPY . .
RUN cargo build --release --locked --workspace --bins

# One executable under its own name, and the link that the image starts, because an ENTRYPOINT cannot contain a build argument.
FROM build AS pick
ARG SERVICE
RUN : "${SERVICE:?is not set: docker build --build-arg SERVICE=gateway, user, event, registration, notification, audit or cli}" \
 && case "$SERVICE" in cli) binary=rollcall ;; *) binary=$SERVICE ;; esac \
 && install -D --target-directory=/picked "target/release/$binary" \
 && strip --strip-debug "/picked/$binary" \
 && ln -s "$binary" /picked/main

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY --from=pick /picked/ /usr/local/bin/

# The default is the loopback interface, on which the admin port cannot be reached from outside of the container.
ENV ADMIN_LISTEN=0.0.0.0:9464
EXPOSE 9464

USER 65532:65532
ENTRYPOINT ["/usr/local/bin/main"]
# Jobs (`migrate`, `rollcall`) have no admin port, so disable the health check for them.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=60s --start-interval=1s \
  CMD ["/usr/local/bin/main", "healthcheck"]

ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rollcall/$SERVICE" \
      org.opencontainers.image.description="Rollcall, an event-registration platform: $SERVICE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="debian:bookworm-slim"

# syntax=docker/dockerfile:1
# Two stages: the locked dependencies are installed where pip is, and run where it is not needed.
# Any image with Python 3.11 and its venv module serves as BASE. The digest is that of
# python:3.11-slim-bookworm of 2026-08-25 (Python 3.11.16), for all platforms.
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock requirements-aws-lc.lock ./
# --build-arg LOCK=requirements-aws-lc.lock adds AWS-LC, which signs in a quarter less time.
ARG LOCK=requirements.lock
# Whoever has an index of their own gives it as a secret: --secret id=pip,src=pip.conf.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/zhenxian \
    && /opt/zhenxian/bin/pip install --require-hashes -r "$LOCK"
COPY pyproject.toml README.md LICENSE ./
COPY analytics analytics
COPY api api
COPY calls calls
COPY certs certs
COPY cli cli
COPY core core
COPY passport passport
COPY registry registry
COPY service service
COPY signer signer
COPY simulation simulation
COPY sip sip
COPY stores stores
COPY telemetry telemetry
COPY verifier verifier
COPY src src
RUN /opt/zhenxian/bin/pip install --no-deps --no-build-isolation .

FROM ${BASE}
RUN groupadd --system --gid 10001 zhenxian \
    && useradd --system --uid 10001 --gid zhenxian --home-dir /var/lib/zhenxian --create-home zhenxian
COPY --from=build /opt/zhenxian /opt/zhenxian
ENV PATH=/opt/zhenxian/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ZHENXIAN_DATA=/var/lib/zhenxian/data
# State and settings are mounted; everything else may be read-only (docker run --read-only
# --tmpfs /tmp -v zhenxian:/var/lib/zhenxian -v ./zhenxian.toml:/etc/zhenxian/zhenxian.toml:ro).
VOLUME /var/lib/zhenxian
WORKDIR /etc/zhenxian
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["zhenxian", "doctor", "--alive"]
ENTRYPOINT ["zhenxian"]
CMD ["serve"]

# syntax=docker/dockerfile:1
# Two stages: the locked dependencies are installed where pip is, and run where it is not needed.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/zhenxian \
    && /opt/zhenxian/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY passport passport
COPY certs certs
COPY registry registry
COPY displays displays
COPY signer signer
COPY verifier verifier
COPY stores stores
COPY gateway gateway
RUN /opt/zhenxian/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
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

# One image for every node: `docker build -t cqueue .` needs nothing but this directory.
# The build stage fills a virtual environment; the final stage is the base image plus that directory.

FROM docker.io/library/python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The build tools and what cqueue depends on, all by hash. Neither environment gets a pip of its own:
# nothing is to be installed in the final image. This layer is made anew only when the pins change.
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv --without-pip /opt/build \
    && python -m pip --python /opt/build/bin/python install --no-deps --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /opt/cqueue \
    && python -m pip --python /opt/cqueue/bin/python install --no-deps --require-hashes -r requirements/run.txt

# What nothing here loads: rich asks pygments for colours of source code only; tests and sources of libraries. And what
# is compiled when it is wanted, as no node wants it: what draws tables, and the client that is awaited.
RUN cd /opt/cqueue/lib/python3*/site-packages \
    && rm -rf pygments pygments-*.dist-info pycparser pycparser-*.dist-info \
        gevent/tests gevent/testing greenlet/tests zope/interface/tests zope/interface/*/tests \
        rich/__pycache__ aiohttp/__pycache__ \
    && find . -name '*.[ch]' -delete -o -name '*.cpp' -delete -o -name '*.hpp' -delete -o -name '*.p[xy][xdi]' -delete

COPY LICENSE README.md pyproject.toml ./
COPY cqueue cqueue
RUN python -m pip --python /opt/build/bin/python wheel --no-build-isolation --no-deps --wheel-dir /opt/wheels . \
    && python -m pip --python /opt/cqueue/bin/python install --no-deps --no-index /opt/wheels/*.whl


FROM docker.io/library/python:3.11-slim-bookworm

# The data directory, and the place for what an operator mounts (the cluster's secret). A new named
# volume takes over the owner of the directory it is mounted on.
RUN groupadd --gid 10001 cqueue \
    && useradd --uid 10001 --gid cqueue --no-create-home --home-dir /var/lib/cqueue --shell /usr/sbin/nologin cqueue \
    && install -d -o cqueue -g cqueue -m 0750 /etc/cqueue /var/lib/cqueue
COPY --from=build /opt/cqueue /opt/cqueue
COPY deploy/docker/healthcheck.py /opt/cqueue/healthcheck.py

# 0.0.0.0: nobody reaches a container's loopback address. So a node here wants to know its callers: give it
# CQUEUE_TOKENS, or CQUEUE_INSECURE=1 where the ports that are published decide who gets in:
# docker run -e CQUEUE_INSECURE=1 -p 127.0.0.1:3000:3000 cqueue
ENV CQUEUE_ADDR=0.0.0.0 \
    PATH=/opt/cqueue/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# In numbers, so that an orchestrator can tell that this is not root. The user writes to /tmp and
# /var/lib/cqueue; everything else can be mounted read-only.
USER 10001:10001
WORKDIR /var/lib/cqueue
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "/opt/cqueue/healthcheck.py"]
ENTRYPOINT ["cqueue"]
CMD ["serve"]

# Last, as they change with every build: `--build-arg VERSION=1.2.3 --build-arg REVISION=<commit>`.
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cqueue" \
      org.opencontainers.image.description="A job queue you run with one command and use with curl, and that keeps every accepted job when a machine dies." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/cqueue/cqueue" \
      org.opencontainers.image.documentation="https://github.com/cqueue/cqueue/tree/main/docs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

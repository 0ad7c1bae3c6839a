# hwnas for CPUs: docs/docker.md says how to build and use it.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=train,onnxruntime,litert,ssh
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/hwnas
WORKDIR /src
COPY constraints.txt ./
# torch first: the wheels on PyPI bring CUDA for Linux, several GB; PyTorch's own index has those for CPUs.
RUN /opt/hwnas/bin/pip install -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu torch
COPY pyproject.toml README.md LICENSE ./
COPY hwnas hwnas
COPY conf conf
COPY device_profiles device_profiles
COPY latency_tables latency_tables
RUN /opt/hwnas/bin/pip install -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu ".[${EXTRAS}]"

FROM python:${PYTHON}-slim
# The client of phones' debug bridge; its server runs on the host, where the phones are plugged in.
RUN apt-get update && apt-get install -y --no-install-recommends adb && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/hwnas /opt/hwnas
RUN useradd --uid 1000 --home-dir /work --create-home hwnas
# Under any other user (docker run --user) too: HOME can be written, and the user has a name.
ENV PATH=/opt/hwnas/bin:$PATH HOME=/work USER=hwnas
USER hwnas
WORKDIR /work
VOLUME /work
ENTRYPOINT ["hwnas"]
CMD ["--help"]

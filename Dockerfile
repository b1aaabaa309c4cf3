# syntax=docker/dockerfile:1
# acdc_seg with the tested versions, for the CPU; --build-arg TORCH_BACKEND=cu128 for CUDA GPUs.
# docs/deployment.md says how to use it.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ARG TORCH_BACKEND=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1
WORKDIR /source
COPY constraints.txt ./
COPY scripts/install_torch.sh scripts/
RUN bash scripts/install_torch.sh /opt/acdc_seg "${TORCH_BACKEND}"
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY configs configs
COPY acdc_seg acdc_seg
RUN python -m pip wheel --quiet --no-deps --wheel-dir dist . \
    && /opt/acdc_seg/bin/python -m pip install --quiet --constraint constraints.txt \
    "$(echo dist/*.whl)[dicom,postgresql]"

FROM python:${PYTHON_VERSION}-slim-bookworm
RUN useradd --create-home --uid 1000 acdc \
    && mkdir -p /data /workspace/data /workspace/runs /workspace/studies \
    && chown -R acdc /workspace
COPY --from=build /opt/acdc_seg /opt/acdc_seg
COPY --chmod=755 scripts/container/entrypoint.sh scripts/container/healthcheck.sh /usr/local/bin/
ENV PATH=/opt/acdc_seg/bin:$PATH MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1 ACDC_DATA=/data
USER 1000
WORKDIR /workspace
HEALTHCHECK --interval=10m --timeout=2m --start-period=2m --retries=2 CMD ["healthcheck.sh"]
ENTRYPOINT ["entrypoint.sh"]
CMD ["acdc-models"]

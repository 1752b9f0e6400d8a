// What CUDA's virtual memory calls take on this machine, by the size and the number of handles: one JSON object a line,
// medians in microseconds. The figures of metal/sim's H100 come from here.
//
//   nvcc -O2 -o vmm vmm.cpp -lcuda && ./vmm

#include <cuda.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

static void check(CUresult r, const char* what) {
	if (r != CUDA_SUCCESS) {
		const char* text = nullptr;
		cuGetErrorString(r, &text);
		std::fprintf(stderr, "%s: %s\n", what, text ? text : "?");
		std::exit(1);
	}
}
#define CHECK(call) check(call, #call)

using Clock = std::chrono::steady_clock;

struct Timer {
	std::vector<double> us;
	template <class F> void time(F f) {
		auto start = Clock::now();
		f();
		us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
	}
	double median() {
		std::sort(us.begin(), us.end());
		return us[us.size() / 2];
	}
};

static const size_t MiB = 1 << 20;

int main() {
	CHECK(cuInit(0));
	CUdevice dev;
	CHECK(cuDeviceGet(&dev, 0));
	CUcontext ctx;
	CHECK(cuDevicePrimaryCtxRetain(&ctx, dev));
	CHECK(cuCtxSetCurrent(ctx));

	CUmemAllocationProp prop = {};
	prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
	prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
	prop.location.id = dev;
	CUmemAccessDesc access = {};
	access.location = prop.location;
	access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;

	CUdeviceptr base;
	CHECK(cuMemAddressReserve(&base, 4096 * MiB, 2 * MiB, 0, 0));

	const size_t shapes[][2] = { // handle size, handles
		{2, 1}, {4, 1}, {8, 1}, {16, 1}, {32, 1}, {64, 1}, {256, 1}, {1024, 1},
		{2, 2}, {2, 4}, {2, 8}, {2, 16}, {2, 32}, {4, 16}, {8, 8}, {16, 4}, {32, 2}, {16, 64}, {32, 32},
	};
	for (auto& s : shapes) {
		const size_t size = s[0] * MiB, n = s[1];
		Timer create, map, set, unmap, release, all;
		for (int round = 0; round < 60; round++) {
			std::vector<CUmemGenericAllocationHandle> hs(n);
			all.time([&] {
				for (auto& h : hs) create.time([&] { CHECK(cuMemCreate(&h, size, &prop, 0)); });
				for (size_t i = 0; i < n; i++) map.time([&] { CHECK(cuMemMap(base + i * size, size, 0, hs[i], 0)); });
				set.time([&] { CHECK(cuMemSetAccess(base, n * size, &access, 1)); });
			});
			unmap.time([&] { CHECK(cuMemUnmap(base, n * size)); });
			for (auto& h : hs) release.time([&] { CHECK(cuMemRelease(h)); });
		}
		std::printf("{\"handle\": %zu, \"handles\": %zu, \"create_us\": %.2f, \"map_us\": %.2f, \"setaccess_us\": %.2f, "
			"\"cold_us\": %.2f, \"unmap_us\": %.2f, \"release_us\": %.2f}\n",
			size, n, create.median(), map.median(), set.median(), all.median(), unmap.median(), release.median());
	}
	// One handle at two places: the old one is written by queued work while the new one is mapped, and goes only when that
	// work is done. What was written through either is read through the new one.
	{
		const size_t size = 64 * MiB;
		CUmemGenericAllocationHandle h;
		CHECK(cuMemCreate(&h, size, &prop, 0));
		CUdeviceptr a = base, b = base + 1024 * MiB;
		CHECK(cuMemMap(a, size, 0, h, 0));
		CHECK(cuMemSetAccess(a, size, &access, 1));
		CUstream stream;
		CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
		CUevent done;
		CHECK(cuEventCreate(&done, CU_EVENT_DISABLE_TIMING));
		Timer alias, part;
		size_t wrong = 0, waited = 0;
		std::vector<unsigned> host(size / 4);
		for (unsigned round = 0; round < 50; round++) {
			for (unsigned i = 0; i <= 400; i++) CHECK(cuMemsetD32Async(a, round * 1000 + i, size / 4, stream));
			CHECK(cuEventRecord(done, stream));
			alias.time([&] {
				CHECK(cuMemMap(b, size, 0, h, 0));
				CHECK(cuMemSetAccess(b, size, &access, 1));
			});
			waited += cuEventQuery(done) == CUDA_SUCCESS; // the calls waited for the work
			CHECK(cuMemsetD32Async(b, ~round, size / 8, stream));
			CHECK(cuEventSynchronize(done));
			part.time([&] { CHECK(cuMemUnmap(a, size)); });
			CHECK(cuMemcpyDtoHAsync(host.data(), b, size, stream));
			CHECK(cuStreamSynchronize(stream));
			for (size_t i = 0; i < host.size(); i++) wrong += host[i] != (i < host.size() / 2 ? ~round : round * 1000 + 400);
			std::swap(a, b);
		}
		CHECK(cuMemUnmap(a, size));
		CHECK(cuMemRelease(h));
		std::printf("{\"alias\": %zu, \"map_us\": %.2f, \"unmap_us\": %.2f, \"rounds\": 50, \"waited\": %zu, \"wrong\": %zu}\n",
			size, alias.median(), part.median(), waited, wrong);
	}
	// The plain calls beside them.
	for (size_t mb : {1, 2, 8, 16, 32, 64, 256, 1024}) {
		Timer alloc, release;
		for (int round = 0; round < 30; round++) {
			CUdeviceptr p;
			alloc.time([&] { CHECK(cuMemAlloc(&p, mb * MiB)); });
			release.time([&] { CHECK(cuMemFree(p)); });
		}
		std::printf("{\"cuMemAlloc\": %zu, \"alloc_us\": %.2f, \"free_us\": %.2f}\n", mb * MiB, alloc.median(), release.median());
	}
}

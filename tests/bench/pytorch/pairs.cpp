// Pairs of a malloc and a free of 1 MiB through PyTorch's caching allocator and
// through cudaMallocAsync, with 1 to 16 threads on a stream each. Prints a JSON
// object a line: wall time ÷ all threads' pairs, median of the rounds.
//
//	pairs [--threads 1,2,4,8,16] [--rounds 9] [--chunk-ms 200]
//
// ../host.sh builds and runs it.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>

namespace {

constexpr size_t kSize = size_t{1} << 20;

void check(cudaError_t err, const char* what) {
  if (err != cudaSuccess) {
    std::fprintf(stderr, "pairs: %s: %s\n", what, cudaGetErrorString(err));
    std::exit(1);
  }
}

// Gate lets n threads go on when the last has come; once.
class Gate {
 public:
  explicit Gate(int n) : missing_(n) {}

  void wait() {
    std::unique_lock<std::mutex> lock(mu_);
    if (--missing_ == 0) {
      all_.notify_all();
    }
    all_.wait(lock, [&] { return missing_ == 0; });
  }

 private:
  std::mutex mu_;
  std::condition_variable all_;
  int missing_;
};

// Pair is one malloc and its free, on a stream.
using Pair = void (*)(cudaStream_t);

void torchPair(cudaStream_t stream) {
  using namespace c10::cuda;
  CUDACachingAllocator::raw_delete(CUDACachingAllocator::raw_alloc_with_stream(kSize, stream));
}

void asyncPair(cudaStream_t stream) {
  void* p = nullptr;
  check(cudaMallocAsync(&p, kSize, stream), "cudaMallocAsync");
  check(cudaFreeAsync(p, stream), "cudaFreeAsync");
}

// chunk has every stream's thread do n pairs; ns from when the first began to when
// the last was done. The threads read the clock themselves: there may be no core
// left on which somebody else would see them begin.
double chunk(Pair pair, const std::vector<cudaStream_t>& streams, int64_t n) {
  using Clock = std::chrono::steady_clock;
  const size_t threads = streams.size();
  Gate gate(static_cast<int>(threads));
  std::vector<Clock::time_point> began(threads), done(threads);
  std::vector<std::thread> all;
  for (size_t t = 0; t < threads; t++) {
    all.emplace_back([&, t] {
      check(cudaSetDevice(0), "cudaSetDevice");
      pair(streams[t]);  // the thread's own state, and a cached block
      gate.wait();
      const auto start = Clock::now();
      for (int64_t i = 0; i < n; i++) {
        pair(streams[t]);
      }
      done[t] = Clock::now();
      began[t] = start;
    });
  }
  for (std::thread& t : all) {
    t.join();
  }
  for (cudaStream_t stream : streams) {
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }
  const std::chrono::duration<double, std::nano> wall =
      *std::max_element(done.begin(), done.end()) - *std::min_element(began.begin(), began.end());
  return wall.count();
}

void measure(const char* name, Pair pair, int threads, int rounds, double chunkNS) {
  std::vector<cudaStream_t> streams(threads);
  for (cudaStream_t& s : streams) {
    check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  int64_t n = 64;
  for (double ns; (ns = chunk(pair, streams, n)) < chunkNS / 4;) {
    n *= 2;
  }
  std::vector<double> perPair;
  for (int i = 0; i < rounds; i++) {
    perPair.push_back(chunk(pair, streams, n) / (static_cast<double>(n) * threads));
  }
  std::sort(perPair.begin(), perPair.end());
  const double median = (perPair[(rounds - 1) / 2] + perPair[rounds / 2]) / 2;
  std::printf("{\"name\":\"%s\",\"threads\":%d,\"size\":%zu,\"pairs\":%lld,\"rounds\":%d,\"ns_per_pair\":%.1f}\n", name,
              threads, kSize, static_cast<long long>(n * threads), rounds, median);
  std::fflush(stdout);
  for (cudaStream_t s : streams) {
    check(cudaStreamDestroy(s), "cudaStreamDestroy");
  }
}

std::vector<int> numbers(const std::string& list) {
  std::vector<int> ns;
  for (size_t at = 0; at < list.size();) {
    size_t end = std::min(list.find(',', at), list.size());
    ns.push_back(std::atoi(list.substr(at, end - at).c_str()));
    at = end + 1;
  }
  return ns;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int> threads = {1, 2, 4, 8, 16};
  int rounds = 9;
  double chunkMS = 200;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!std::strcmp(argv[i], "--threads")) {
      threads = numbers(argv[i + 1]);
    } else if (!std::strcmp(argv[i], "--rounds")) {
      rounds = std::max(1, std::atoi(argv[i + 1]));
    } else if (!std::strcmp(argv[i], "--chunk-ms")) {
      chunkMS = std::atof(argv[i + 1]);
    } else {
      std::fprintf(stderr, "pairs: unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  check(cudaSetDevice(0), "cudaSetDevice");
  int devices = 0;
  check(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  c10::cuda::CUDACachingAllocator::init(devices);

  // Otherwise the pool gives its memory back at every synchronisation.
  cudaMemPool_t pool;
  check(cudaDeviceGetDefaultMemPool(&pool, 0), "cudaDeviceGetDefaultMemPool");
  uint64_t keep = UINT64_MAX;
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "cudaMemPoolSetAttribute");

  for (int t : threads) {
    if (t < 1) {
      std::fprintf(stderr, "pairs: %d threads?\n", t);
      return 2;
    }
    measure("pytorch", torchPair, t, rounds, chunkMS * 1e6);
    measure("cudaMallocAsync", asyncPair, t, rounds, chunkMS * 1e6);
  }
  return 0;
}

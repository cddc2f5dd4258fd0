// Uses a bundle as TensorFlow Serving does: loads it with the tag "serve", replays its warm-up file, and calls it from
// several threads.
//
//   host BUNDLE [OP_LIBRARY] [CALLS] [THREADS] [CALLS_IN_ALL] [as_written]
//
// Prints one line of JSON for each warm-up request: {"signature": ..., "outputs": {name: [values in order]}}. With CALLS
// it prints one more line, the median time of that many calls of `recommend` for one query, one after the other. With
// CALLS_IN_ALL it prints another, the memory before and after that many calls from THREADS threads at once. Graphs are
// optimised, unless the last word is `as_written`.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "google/protobuf/io/coded_stream.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/lib/io/record_reader.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/public/session.h"

namespace {

using google::protobuf::io::CodedInputStream;
using tensorflow::Tensor;

void Check(const absl::Status& status) {
  if (!status.ok()) {
    std::cerr << status.message() << std::endl;
    std::exit(1);
  }
}

// The fields of a message on the wire: number -> contents, of those that hold bytes.
std::vector<std::pair<int, std::string>> Fields(const std::string& message) {
  CodedInputStream input(reinterpret_cast<const uint8_t*>(message.data()), static_cast<int>(message.size()));
  std::vector<std::pair<int, std::string>> fields;
  while (const uint32_t tag = input.ReadTag()) {
    if ((tag & 7) == 2) {
      uint32_t size = 0;
      std::string contents;
      if (!input.ReadVarint32(&size) || !input.ReadString(&contents, static_cast<int>(size))) break;
      fields.emplace_back(tag >> 3, std::move(contents));
    } else {
      uint64_t ignored = 0;
      input.ReadVarint64(&ignored);
    }
  }
  return fields;
}

std::string Field(const std::string& message, int number) {
  for (auto& [found, contents] : Fields(message)) {
    if (found == number) return contents;
  }
  return "";
}

struct Request {
  std::string signature;
  std::map<std::string, Tensor> inputs;
};

// PredictionLog.predict_log = 6, PredictLog.request = 1, PredictRequest.model_spec = 1 and .inputs = 2,
// ModelSpec.signature_name = 3, of a map's entry the key is 1 and the value 2.
Request Parse(const std::string& prediction_log) {
  const std::string predict_request = Field(Field(prediction_log, 6), 1);
  Request request{Field(Field(predict_request, 1), 3), {}};
  for (const auto& [number, entry] : Fields(predict_request)) {
    if (number != 2) continue;
    tensorflow::TensorProto proto;
    Tensor tensor;
    if (!proto.ParseFromString(Field(entry, 2)) || !tensor.FromProto(proto)) {
      std::cerr << "damaged warm-up file" << std::endl;
      std::exit(1);
    }
    request.inputs[Field(entry, 1)] = tensor;
  }
  return request;
}

std::vector<Request> ReadWarmup(const std::string& bundle) {
  std::unique_ptr<tensorflow::RandomAccessFile> file;
  const std::string path = bundle + "/assets.extra/tf_serving_warmup_requests";
  Check(tensorflow::Env::Default()->NewRandomAccessFile(path, &file));
  tensorflow::io::SequentialRecordReader reader(file.get());
  std::vector<Request> requests;
  tensorflow::tstring record;
  while (reader.ReadRecord(&record).ok()) requests.push_back(Parse(std::string(record)));
  return requests;
}

// A signature's request, ready for Session::Run.
struct Call {
  std::vector<std::pair<std::string, Tensor>> feeds;
  std::vector<std::string> names, fetches;

  Call(const tensorflow::SavedModelBundle& bundle, const Request& request) {
    const auto& signature = bundle.meta_graph_def.signature_def().at(request.signature);
    for (const auto& [name, tensor] : request.inputs) feeds.emplace_back(signature.inputs().at(name).name(), tensor);
    const std::map<std::string, tensorflow::TensorInfo> outputs(signature.outputs().begin(), signature.outputs().end());
    for (const auto& [name, info] : outputs) {
      names.push_back(name);
      fetches.push_back(info.name());
    }
  }

  std::vector<Tensor> Run(tensorflow::Session* session) const {
    std::vector<Tensor> outputs;
    Check(session->Run(feeds, fetches, {}, &outputs));
    return outputs;
  }
};

void PrintString(const std::string& text) {
  std::cout << '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') std::cout << '\\';
    std::cout << c;
  }
  std::cout << '"';
}

void PrintValues(const Tensor& tensor) {
  std::cout << '[';
  for (int64_t i = 0; i < tensor.NumElements(); ++i) {
    if (i) std::cout << ", ";
    if (tensor.dtype() == tensorflow::DT_STRING) {
      PrintString(std::string(tensor.flat<tensorflow::tstring>()(i)));
    } else {
      char text[32];
      std::snprintf(text, sizeof text, "%.9g", tensor.flat<float>()(i));
      std::cout << text;
    }
  }
  std::cout << ']';
}

double ResidentMiB() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string path = argv[1], library = argc > 2 ? argv[2] : "";
  const int calls = argc > 3 ? std::atoi(argv[3]) : 0, num_threads = argc > 4 ? std::atoi(argv[4]) : 1;
  const int calls_in_all = argc > 5 ? std::atoi(argv[5]) : 0;
  void* handle = nullptr;
  if (!library.empty()) Check(tensorflow::Env::Default()->LoadDynamicLibrary(library.c_str(), &handle));
  tensorflow::SessionOptions options;
  if (argc > 6) options.config.mutable_graph_options()->mutable_rewrite_options()->set_disable_meta_optimizer(true);
  tensorflow::SavedModelBundle bundle;
  Check(tensorflow::LoadSavedModel(options, {}, path, {"serve"}, &bundle));

  const Request* for_one = nullptr;
  const std::vector<Request> requests = ReadWarmup(path);
  for (const Request& request : requests) {
    const Call call(bundle, request);
    const std::vector<Tensor> outputs = call.Run(bundle.session.get());
    std::cout << "{\"signature\": \"" << request.signature << "\", \"outputs\": {";
    for (size_t i = 0; i < outputs.size(); ++i) {
      std::cout << (i ? ", " : "");
      PrintString(call.names[i]);
      std::cout << ": ";
      PrintValues(outputs[i]);
    }
    std::cout << "}}" << std::endl;
    if (request.signature == "recommend" && request.inputs.begin()->second.dim_size(0) == 1) for_one = &request;
  }
  if (for_one == nullptr || calls == 0) return 0;

  const Call call(bundle, *for_one);
  std::vector<double> milliseconds;
  for (int i = 0; i < calls; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call.Run(bundle.session.get());
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    milliseconds.push_back(taken.count());
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  std::cout << "{\"median_ms\": " << milliseconds[calls / 2] << ", \"p99_ms\": " << milliseconds[calls * 99 / 100]
            << "}" << std::endl;

  const auto call_from_all = [&](int in_all) {
    std::vector<std::thread> threads;
    for (int i = 0; i < num_threads; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < in_all / num_threads; ++j) call.Run(bundle.session.get());
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  if (calls_in_all == 0) return 0;
  call_from_all(calls_in_all / 10);  // allocators and thread pools have grown to their size then
  const double before = ResidentMiB();
  const auto start = std::chrono::steady_clock::now();
  call_from_all(calls_in_all);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  std::cout << "{\"before_mib\": " << before << ", \"after_mib\": " << ResidentMiB()
            << ", \"calls_per_s\": " << calls_in_all / taken.count() << "}" << std::endl;
  return 0;
}

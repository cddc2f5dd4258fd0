/* Asks a bundle through TensorFlow's C API, as bindings of other languages do.
 *
 *   host BUNDLE REQUESTS [OP_LIBRARY]
 *
 * REQUESTS is text, of words: for each request `request NAME`, then any number of
 *   input TENSOR INDEX (string|float|int64) RANK SIZE... VALUE...    (a string in hexadecimal, after an x)
 *   output NAME TENSOR INDEX
 * and `end`. Prints one line of JSON for each request, as host.cc does. Graphs are run as they were written: TensorFlow
 * would take longer to optimise them than to answer a few requests.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

#define MOST 64

static TF_Status* status;

/* ConfigProto.graph_options = 10, GraphOptions.rewrite_options = 10, RewriterConfig.disable_meta_optimizer = 19. */
static const unsigned char CONFIG[] = {0x52, 5, 0x52, 3, 0x98, 1, 1};

static void check(const char* what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

static char word[1 << 20];

static const char* next(FILE* file) {
  return fscanf(file, "%1048575s", word) == 1 ? word : NULL;
}

static int64_t next_number(FILE* file) {
  const char* text = next(file);
  return text == NULL ? 0 : strtoll(text, NULL, 10);
}

static TF_Output next_output(TF_Graph* graph, FILE* file) {
  TF_Output output;
  output.oper = TF_GraphOperationByName(graph, next(file));
  if (output.oper == NULL) {
    fprintf(stderr, "no operation %s\n", word);
    exit(1);
  }
  output.index = (int)next_number(file);
  return output;
}

static void read_string(const char* hexadecimal, TF_TString* string) {
  size_t size = strlen(hexadecimal) / 2, i;
  char* bytes = malloc(size + 1);
  for (i = 0; i < size; ++i) {
    unsigned byte = 0;
    sscanf(hexadecimal + 2 * i, "%2x", &byte);
    bytes[i] = (char)byte;
  }
  TF_TString_Init(string);
  TF_TString_Copy(string, bytes, size);
  free(bytes);
}

static TF_Tensor* next_tensor(FILE* file) {
  int64_t sizes[8], num = 1, i;
  int rank;
  TF_DataType type;
  size_t width;
  TF_Tensor* tensor;
  next(file);
  type = strcmp(word, "string") == 0 ? TF_STRING : strcmp(word, "float") == 0 ? TF_FLOAT : TF_INT64;
  width = type == TF_STRING ? sizeof(TF_TString) : TF_DataTypeSize(type);
  rank = (int)next_number(file);
  for (i = 0; i < rank; ++i) num *= sizes[i] = next_number(file);
  tensor = TF_AllocateTensor(type, sizes, rank, (size_t)num * width);
  for (i = 0; i < num; ++i) {
    void* place = (char*)TF_TensorData(tensor) + (size_t)i * width;
    next(file);
    if (type == TF_STRING) read_string(word + 1, place);
    else if (type == TF_FLOAT) *(float*)place = strtof(word, NULL);
    else *(int64_t*)place = strtoll(word, NULL, 10);
  }
  return tensor;
}

static void print_values(const TF_Tensor* tensor) {
  int64_t num = TF_TensorElementCount(tensor), i;
  printf("[");
  for (i = 0; i < num; ++i) {
    if (i) printf(", ");
    if (TF_TensorType(tensor) == TF_STRING) {
      const TF_TString* string = (const TF_TString*)TF_TensorData(tensor) + i;
      printf("\"%.*s\"", (int)TF_TString_GetSize(string), TF_TString_GetDataPointer(string));
    } else {
      printf("%.9g", ((const float*)TF_TensorData(tensor))[i]);
    }
  }
  printf("]");
}

int main(int argc, char** argv) {
  const char* tags[] = {"serve"};
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Session* session;
  FILE* file;
  if (argc < 3) return 2;
  status = TF_NewStatus();
  if (argc > 3) {
    TF_LoadLibrary(argv[3], status);
    check("library");
  }
  TF_SetConfig(options, CONFIG, sizeof CONFIG, status);
  check("options");
  session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check("bundle");
  file = fopen(argv[2], "r");
  if (file == NULL) return 2;
  while (next(file) != NULL) { /* request */
    TF_Output inputs[MOST], outputs[MOST];
    TF_Tensor *given[MOST], *got[MOST];
    char signature[256], names[MOST][256];
    int num_inputs = 0, num_outputs = 0, i;
    snprintf(signature, sizeof signature, "%s", next(file));
    while (strcmp(next(file), "end") != 0) {
      if (strcmp(word, "input") == 0) {
        inputs[num_inputs] = next_output(graph, file);
        given[num_inputs++] = next_tensor(file);
      } else {
        snprintf(names[num_outputs], sizeof names[0], "%s", next(file));
        outputs[num_outputs++] = next_output(graph, file);
      }
    }
    TF_SessionRun(session, NULL, inputs, given, num_inputs, outputs, got, num_outputs, NULL, 0, NULL, status);
    check(signature);
    printf("{\"signature\": \"%s\", \"outputs\": {", signature);
    for (i = 0; i < num_outputs; ++i) {
      printf("%s\"%s\": ", i ? ", " : "", names[i]);
      print_values(got[i]);
      TF_DeleteTensor(got[i]);
    }
    printf("}}\n");
    for (i = 0; i < num_inputs; ++i) TF_DeleteTensor(given[i]);
  }
  fclose(file);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}

#include "client/cli/app.h"

int main(int argc, char** argv) { return larder::cli::RunApp(argc, argv); }

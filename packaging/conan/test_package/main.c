/* Loads the library, and asks whether its version is that of the headers. */
#include <helip.h>
#include <stdio.h>

int main(void) {
  if (helip_check_version(HELIP_VERSION) != HELIP_OK) {
    fprintf(stderr, "%s\n", helip_last_error());
    return 1;
  }
  printf("helip %s\n", helip_version());
  return 0;
}

// go run saxpy.go /jax: a conversation from Go, with encoding/binary as the only codec.
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	call, err := os.OpenFile(os.Args[1]+"/programs/saxpy/call.raw", os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer call.Close()
	xy := []float32{1, 2, 3, 4, 10, 20, 30, 40}
	if err := binary.Write(call, binary.LittleEndian, xy); err != nil {
		log.Fatal(err)
	}
	z := make([]float32, 4)
	if err := binary.Read(call, binary.LittleEndian, z); err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Trim(fmt.Sprintf("%.1f", z), "[]"))
}
